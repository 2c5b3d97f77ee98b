package alsa

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The kernel's interface (include/uapi/sound/asequencer.h). The sizes are part
// of the numbers of the calls, so that a wrong one is refused.

type addr struct{ client, port uint8 }

func (a addr) String() string { return fmt.Sprintf("%d:%d", a.client, a.port) }

type clientInfo struct {
	client int32
	_      int32 // kind
	name   [64]byte
	// filter, multicast filter, event filter, count of ports, of lost events
	_    [4 + 8 + 32 + 2*4]byte
	card int32 // of hardware; −1 of others
	_    int32 // pid
	_    [56]byte
}

type portInfo struct {
	addr       addr
	name       [64]byte
	capability uint32
	kind       uint32
	channels   int32
	_          [4]int32 // voices, synth voices, readers, writers
	_          uintptr  // the kernel's
	flags      uint32
	timeQueue  uint8
	_          [59]byte
}

type subscription struct {
	sender, dest addr
	_            [2]uint32 // voices, flags
	_            uint8     // queue
	_            [67]byte
}

type querySubs struct {
	root  addr
	kind  int32 // 0: who reads from it; 1: who writes to it
	index int32
	_     int32 // count
	addr  addr
	_     uint8  // queue
	_     uint32 // flags
	_     [64]byte
}

type clientPool struct {
	client    int32
	_         int32 // output
	inputPool int32
	_         [3]int32 // room of output, free of both
	_         [64]byte
}

type queueInfo struct {
	queue  int32
	_      int32 // owner
	locked uint32
	name   [64]byte
	_      uint32 // flags
	_      [60]byte
}

type queueStatus struct {
	queue     int32
	_         int32  // events that wait
	_         uint32 // tick
	sec, nsec uint32
	running   int32
	_         int32 // flags
	_         [64]byte
}

const (
	read  = 2 << 30
	write = 1 << 30
)

// call makes the number of a call whose argument is a T.
func call[T any](way uintptr, n uintptr) uintptr {
	var t T
	return way | unsafe.Sizeof(t)<<16 | 'S'<<8 | n
}

var (
	ioClientID        = call[int32](read, 0x01)
	ioGetClientInfo   = call[clientInfo](read|write, 0x10)
	ioSetClientInfo   = call[clientInfo](write, 0x11)
	ioCreatePort      = call[portInfo](read|write, 0x20)
	ioDeletePort      = call[portInfo](write, 0x21)
	ioSubscribe       = call[subscription](write, 0x30)
	ioCreateQueue     = call[queueInfo](read|write, 0x32)
	ioQueueStatus     = call[queueStatus](read|write, 0x40)
	ioGetClientPool   = call[clientPool](read|write, 0x4b)
	ioSetClientPool   = call[clientPool](write, 0x4c)
	ioQuerySubs       = call[querySubs](read|write, 0x4f)
	ioGetSubscription = call[subscription](read|write, 0x50)
	ioNextClient      = call[clientInfo](read|write, 0x51)
	ioNextPort        = call[portInfo](read|write, 0x52)
)

func ioctl[T any](fd int, n uintptr, t *T) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), n, uintptr(unsafe.Pointer(t))); e != 0 {
		return e
	}
	return nil
}

const (
	capRead, capWrite         = 1 << 0, 1 << 1
	capSubsRead, capSubsWrite = 1 << 5, 1 << 6
	capNoExport               = 1 << 7

	typeGeneric, typeSoftware, typeApplication = 1 << 1, 1 << 17, 1 << 20

	flagTimestamp, flagRealTime = 1 << 1, 1 << 2 // of a port

	addressUnknown, addressSubscribers = 253, 254
	queueDirect                        = 253

	evVariable, evLength = 1 << 2, 3 << 2 // in the flags of an event
)

// Events, 28 bytes each: kind, flags, tag, queue, time (8), source, dest, data
// (12). Those of variable length are followed by their bytes.
const eventSize = 28

const (
	evNote         = 5
	evNoteOn       = 6
	evNoteOff      = 7
	evKeyPressure  = 8
	evController   = 10
	evProgram      = 11
	evPressure     = 12
	evBend         = 13
	evControl14    = 14
	evNRPN         = 15
	evRPN          = 16
	evSongPosition = 20
	evSongSelect   = 21
	evQuarterFrame = 22
	evStart        = 30
	evContinue     = 31
	evStop         = 32
	evClock        = 36
	evTuneRequest  = 40
	evReset        = 41
	evSensing      = 42
	evClientStart  = 60
	evPortChange   = 65
	evSubscribed   = 66
	evUnsubscribed = 67
	evUser         = 90
	evSysEx        = 130
)

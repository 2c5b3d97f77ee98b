package announce

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/zeroconf/v2"
)

// Types of the services that the instrument has.
const (
	MIDI     = "_apple-midi._udp"
	OSC      = "_osc._udp"
	OSCQuery = "_oscjson._tcp"
)

const (
	// domain is the only one that multicast DNS serves.
	domain = "local."
	// maxInstance is the longest name of an instance in bytes (RFC 6763, 4.1.1).
	maxInstance = 63
	// maxText is the longest TXT string in bytes (RFC 6763, 6.1).
	maxText = 255
)

// poll is how often the interfaces are looked at: a cable that is plugged in is
// used before a performer has looked for the session twice. Tests shorten it.
var poll = 2 * time.Second

// ErrLoopback says that nothing was announced, because the port can be
// reached from this machine only.
var ErrLoopback = errors.New("the port listens on loopback only")

// Service is what is announced.
type Service struct {
	// Instance is the name that others see: 1 to 63 bytes of UTF-8, any
	// characters. Two of one name and type on a network confuse their
	// browsers; add the host's name where that can happen.
	Instance string
	// Type is the service's type: MIDI, OSC, OSCQuery or another of RFC 6335's
	// form, "_name._udp" or "_name._tcp".
	Type string
	// Port is 1…65535.
	Port int
	// TXT holds "key=value" strings of at most 255 bytes each.
	TXT []string
	// Addr is the address that the port listens on. The zero value and the
	// unspecified address (0.0.0.0, ::) mean all interfaces; another one is
	// announced alone, on the interface that has it, for as long as it has it.
	Addr netip.Addr
	// Interfaces limits the announcement to interfaces of these names. Only if
	// the loopback interface is named is anything announced there.
	Interfaces []string
}

// Announcement is a service that is being announced.
type Announcement struct {
	service Service
	log     *slog.Logger
	stop    chan struct{}
	done    chan struct{}
	once    sync.Once
}

// place is one interface with the addresses that are announced on it.
type place struct {
	iface net.Interface
	addrs []string
}

// Start announces s until Close, on the interfaces that are there at each
// time: they may come, go and change their addresses. It returns an error that
// wraps ErrLoopback if s is to be reached on loopback only, and others if s
// has no valid form. That no interface is up is no error. A nil log is
// slog.Default.
func Start(s Service, log *slog.Logger) (*Announcement, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.Default()
	}
	if s.Addr.IsLoopback() && len(s.Interfaces) == 0 {
		return nil, fmt.Errorf("announce: %s %q: %w; listen on the stage network's address to be found there", s.Type, s.Instance, ErrLoopback)
	}
	s.Interfaces, s.TXT = slices.Clone(s.Interfaces), slices.Clone(s.TXT)
	a := &Announcement{service: s, log: log, stop: make(chan struct{}), done: make(chan struct{})}
	go a.run()
	return a, nil
}

// Close says goodbye to the network and waits until that is said. Further
// calls, and calls on nil, do nothing.
func (a *Announcement) Close() error {
	if a == nil {
		return nil
	}
	a.once.Do(func() { close(a.stop) })
	<-a.done
	return nil
}

func (s Service) check() error {
	switch {
	case s.Instance == "" || len(s.Instance) > maxInstance:
		return fmt.Errorf("announce: instance %q: %d bytes long; expected 1 to %d", s.Instance, len(s.Instance), maxInstance)
	case !validType(s.Type):
		return fmt.Errorf("announce: type %q: expected the form _name._udp or _name._tcp", s.Type)
	case s.Port < 1 || s.Port > 65535:
		return fmt.Errorf("announce: %s %q: port %d; expected 1 to 65535", s.Type, s.Instance, s.Port)
	}
	for _, t := range s.TXT {
		if len(t) > maxText {
			return fmt.Errorf("announce: %s %q: TXT string of %d bytes; expected at most %d", s.Type, s.Instance, len(t), maxText)
		}
	}
	return nil
}

// validType tells whether t has the form of RFC 6335 and RFC 6763.
func validType(t string) bool {
	name, proto, ok := strings.Cut(t, ".")
	return ok && (proto == "_udp" || proto == "_tcp") && len(name) >= 2 && len(name) <= 16 && name[0] == '_' &&
		!strings.ContainsFunc(name[1:], func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
}

// run keeps the announcement fitting to the interfaces.
func (a *Announcement) run() {
	defer close(a.done)
	var (
		servers []*zeroconf.Server
		current string
		failed  string
	)
	shut := func() {
		for _, s := range servers {
			s.Shutdown()
		}
		servers = nil
	}
	defer shut()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		places := a.service.places()
		if now := fmt.Sprint(places); now != current {
			shut()
			var why error
			for _, p := range places {
				s, err := a.service.register(p)
				if err != nil {
					why = fmt.Errorf("on %s: %w", p.iface.Name, err)
					continue
				}
				servers = append(servers, s)
			}
			// What failed is tried again at the next look; it is logged once.
			if current = now; why != nil {
				current = ""
				if failed != why.Error() {
					failed = why.Error()
					a.log.Warn("announce: not everywhere", "type", a.service.Type, "instance", a.service.Instance, "error", why)
				}
			} else {
				failed = ""
				a.log.Debug("announce: announced", "type", a.service.Type, "instance", a.service.Instance, "port", a.service.Port, "interfaces", len(places))
			}
		}
		select {
		case <-a.stop:
			return
		case <-tick.C:
		}
	}
}

// places returns the interfaces on which s is announced now.
func (s Service) places() []place {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []place
	for _, i := range ifaces {
		named := slices.Contains(s.Interfaces, i.Name)
		switch {
		case i.Flags&net.FlagUp == 0:
			continue
		case len(s.Interfaces) > 0 && !named:
			continue
		case i.Flags&net.FlagLoopback != 0 && !named:
			continue
		case i.Flags&net.FlagMulticast == 0 && i.Flags&net.FlagLoopback == 0:
			continue
		}
		p := place{iface: i}
		addrs, _ := i.Addrs() // of an interface that has just gone, none
		for _, a := range addrs {
			n, ok := a.(*net.IPNet)
			if !ok {
				continue
			}
			ip, ok := netip.AddrFromSlice(n.IP)
			if ip = ip.Unmap(); !ok || s.Addr.IsValid() && !s.Addr.IsUnspecified() && ip != s.Addr.Unmap().WithZone("") {
				continue
			}
			if s.Addr.IsUnspecified() && s.Addr.Is4() && !ip.Is4() {
				continue
			}
			p.addrs = append(p.addrs, ip.String())
		}
		if len(p.addrs) > 0 {
			slices.Sort(p.addrs)
			p.iface.Flags &= net.FlagUp | net.FlagLoopback | net.FlagMulticast // FlagRunning may flicker
			out = append(out, p)
		}
	}
	return out
}

// register announces s on one interface with that interface's addresses only:
// an address of another network would be of no use to who hears it.
func (s Service) register(p place) (*zeroconf.Server, error) {
	return zeroconf.RegisterProxy(escape(s.Instance), s.Type, domain, s.Port, hostName(), p.addrs, s.TXT, []net.Interface{p.iface})
}

// hostName returns the name whose addresses are announced. It is not the
// machine's own one, which the system's responder may hold and defend.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "host"
	}
	name, _, _ = strings.Cut(name, ".")
	name = strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 40)] + "-k8s-synth"
}

// escape writes an instance's name as one label of a domain name in text form.
// It escapes what the DNS library escapes when it reads one, so that a
// question for the instance is known as one for it.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		switch c := name[i]; {
		case strings.IndexByte(`. '@;()"\`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// unescape undoes escape.
func unescape(label string) string {
	b := make([]byte, 0, len(label))
	for i := 0; i < len(label); i++ {
		c := label[i]
		if c == '\\' && i+1 < len(label) {
			i++
			c = label[i]
			if i+2 < len(label) && isDigit(c) && isDigit(label[i+1]) && isDigit(label[i+2]) {
				c = (c-'0')*100 + (label[i+1]-'0')*10 + label[i+2] - '0'
				i += 2
			}
		}
		b = append(b, c)
	}
	return string(b)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

package main

import (
	"fmt"
	"os"
	"sync"
	"syscall"
)

const mib = 1 << 20

// ballast is memory that is held for its weight alone. It comes from the
// kernel page by page and not from the garbage collector, so that it is there
// in full at once and gone at once.
type ballast struct {
	mu     sync.Mutex
	blocks [][]byte // of 1 MiB each
}

// set holds so many MiB. Where a container has less, the kernel ends the
// process, as it would any other that asks for too much; an error says that
// the kernel refused already, and nothing was taken.
func (b *ballast) set(mebibytes int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, page := len(b.blocks), os.Getpagesize()
	for len(b.blocks) < mebibytes {
		block, err := syscall.Mmap(-1, 0, mib, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			b.release(was)
			return fmt.Errorf("hold %d MiB of memory: %w", mebibytes, err)
		}
		// A page is there once it is written to.
		for i := 0; i < len(block); i += page {
			block[i] = 1
		}
		b.blocks = append(b.blocks, block)
	}
	b.release(mebibytes)
	return nil
}

// release gives back what is over so many blocks.
func (b *ballast) release(keep int) {
	for len(b.blocks) > keep {
		last := len(b.blocks) - 1
		_ = syscall.Munmap(b.blocks[last]) // our own mapping, hence no failure
		b.blocks[last] = nil
		b.blocks = b.blocks[:last]
	}
}

func (b *ballast) held() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.blocks)
}

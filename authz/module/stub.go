//go:build envoystub

package main

/*
#cgo CFLAGS: -Dclock_gettime=stub_clock_gettime
#include "stub.h"
#include <stdlib.h>
*/
import "C"

import (
	"strings"
	"time"
	"unsafe"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/filter"
)

// stubEnvoy is Envoy for tests of the module's C, in a build with the tag envoystub: a test file
// cannot hold C itself. Hooks run on the thread of whoever calls, which is a worker by that.
type stubEnvoy struct{ config unsafe.Pointer }

// newStubEnvoy makes the stub ask f.
func newStubEnvoy(f *filter.Filter) stubEnvoy {
	running.Store(&process{filter: f})
	return stubEnvoy{C.stub_config()}
}

func (e stubEnvoy) close() { C.stub_close_config(e.config) }

// stubStream is one of the stub's streams.
type stubStream struct{ c *C.stub_stream }

// open has a stream begin. Nothing of its headers is there any more afterwards.
func (e stubEnvoy) open(headers []authz.Header, policy, peer string) stubStream {
	views := (*[1 << 16]C.header)(C.calloc(C.size_t(len(headers)+1), C.sizeof_header))[:len(headers):len(headers)]
	texts := map[unsafe.Pointer]int{}
	copied := func(s string) (*C.char, C.size_t) {
		at := C.CBytes([]byte(s + "\x00"))
		texts[at] = len(s)
		return (*C.char)(at), C.size_t(len(s))
	}
	for i, h := range headers {
		views[i].name, views[i].name_len = copied(h.Name)
		views[i].value, views[i].value_len = copied(h.Value)
	}
	var route, by C.buffer
	if policy != "" {
		route.ptr, route.len = copied("policy=" + policy)
	}
	by.ptr, by.len = copied(peer)
	first := unsafe.Pointer(unsafe.SliceData(views))
	s := C.stub_open(e.config, (*C.header)(first), C.size_t(len(headers)), route, by)
	for at, length := range texts {
		for i := range unsafe.Slice((*byte)(at), length) {
			*(*byte)(unsafe.Add(at, i)) = '#'
		}
		C.free(at)
	}
	C.free(first)
	return stubStream{s}
}

// told returns what was done to a stream, a line each.
func (s stubStream) told() []string {
	if s.c.told_len == 0 {
		return nil
	}
	text := C.GoStringN(s.c.told, C.int(s.c.told_len))
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func (s stubStream) passed() bool { return s.c.status == C.status_continue }

func (s stubStream) respond() { C.stub_respond(s.c) }

func (s stubStream) scheduled() int { return int(C.stub_run(s.c)) }

func (s stubStream) close() { C.stub_close(s.c) }

// meanwhile, if set, is called while a hook makes a stream one that can be reached.
var meanwhile func()

//export stub_meanwhile
func stub_meanwhile() {
	if meanwhile != nil {
		meanwhile()
	}
}

// pass moves the clocks that the module's C reads.
func pass(monotonic, wall time.Duration) { C.stub_pass(C.int64_t(monotonic), C.int64_t(wall)) }

// Command module is the gate as a dynamic module of Envoy 1.40: a bootstrap extension, which runs
// the gate in Envoy's process, and an HTTP filter, which asks it. It is built with
//
//	go build -buildmode=c-shared -o libsallyport.so .
//
// What Envoy calls is in bootstrap.c and stream.c. Here is what they ask of Go: each function
// recovers from panics, which would end Envoy, into a refusal.
package main

/*
#include "stream.h"
*/
import "C"

import (
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/sallyport/sallyport/authz"
	"github.com/sallyport/sallyport/authz/filter"
	"github.com/sallyport/sallyport/internal/revocation"
)

func main() {} // never called: a shared library begins with its hooks

// running is the gate in this process; nil before it has been started.
var running atomic.Pointer[process]

//export sallyport_check
func sallyport_check(settings *C.char, length C.size_t) (ok C.bool) {
	defer recovered(&ok)
	return C.bool(checkSettings(C.GoStringN(settings, C.int(length))))
}

//export sallyport_start
func sallyport_start(settings *C.char, length C.size_t) (ok C.bool) {
	defer recovered(&ok)
	p := startProcess(C.GoStringN(settings, C.int(length)))
	running.Store(p)
	return p != nil
}

// sallyport_stop has the gate stop, and reports whether sallyport_tell will say when it has.
//
//export sallyport_stop
func sallyport_stop() (ok C.bool) {
	defer recovered(&ok)
	running.Load().stop()
	return true
}

// sallyport_attached reports whether a filter may be made: there is a gate, or only the
// configuration is looked at.
//
//export sallyport_attached
func sallyport_attached() (ok C.bool) {
	defer recovered(&ok)
	return C.bool(running.Load() != nil || validated.Load())
}

//export sallyport_request
func sallyport_request(f unsafe.Pointer, worker, place C.uint32_t, generation C.uint64_t,
	headers *C.header, count C.size_t, peer, policy C.buffer, out *C.char, size C.size_t,
	keep *C.sallyport_keep) (length C.size_t) {
	defer func() {
		if value := recover(); value != nil {
			length = 0 // no answer is a refusal
			keep.lasts = 0
			logPanic(value)
		}
	}()
	p := running.Load()
	if p == nil {
		return 0
	}
	s := filter.Stream{
		Worker: uint32(worker), Place: uint32(place), Generation: uint64(generation),
	}
	// A header of C's is laid out as one of Go's: two strings, each a pointer and a length.
	views := unsafe.Slice((*authz.Header)(unsafe.Pointer(headers)), int(count))
	memory := unsafe.Slice((*byte)(unsafe.Pointer(out)), int(size))
	from := filter.Origin{Peer: view(peer), Source: source{f}, Policy: view(policy)}
	k := (*filter.Keep)(unsafe.Pointer(keep))
	return C.size_t(len(p.filter.Request(s, views, from, memory[:0], k)))
}

// view returns a text of C's, for as long as C keeps it.
func view(b C.buffer) string {
	return unsafe.String((*byte)(unsafe.Pointer(b.ptr)), int(b.len))
}

// These do not compile unless a header of C's and one of Go's have the same size and places.
var (
	_ [unsafe.Sizeof(authz.Header{}) - unsafe.Sizeof(C.header{})]struct{}
	_ [unsafe.Sizeof(C.header{}) - unsafe.Sizeof(authz.Header{})]struct{}
	_ [unsafe.Offsetof(authz.Header{}.Value) - unsafe.Offsetof(C.header{}.value)]struct{}
	_ [unsafe.Offsetof(C.header{}.value) - unsafe.Offsetof(authz.Header{}.Value)]struct{}

	_ = [1]struct{}{}[unsafe.Sizeof(filter.Keep{})-unsafe.Sizeof(C.sallyport_keep{})]
	_ = [1]struct{}{}[unsafe.Offsetof(filter.Keep{}.IDAt)-unsafe.Offsetof(C.sallyport_keep{}.id_at)]
	_ = [1]struct{}{}[unsafe.Offsetof(filter.Keep{}.Class)-unsafe.Offsetof(C.sallyport_keep{}.class_of)]
	_ = [1]struct{}{}[unsafe.Offsetof(filter.Keep{}.Least)-unsafe.Offsetof(C.sallyport_keep{}.least)]
	_ = [1]struct{}{}[filter.Entries-C.sallyport_entries]
	_ = [1]struct{}{}[revocation.VersionWords-C.version_words]
)

// recovered makes a panic a false.
func recovered(ok *C.bool) {
	if value := recover(); value != nil {
		*ok = false
		logPanic(value)
	}
}

func logPanic(value any) {
	log(C.log_critical, "sallyport: recovered from "+authz.PanicText(value)+"\n"+
		string(debug.Stack()))
}

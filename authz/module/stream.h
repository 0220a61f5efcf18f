// Streams, as this module's C and Go both know them.
#ifndef SALLYPORT_STREAM_H
#define SALLYPORT_STREAM_H

#include "envoy.h"

// Called by Go. A stream that is over is left alone; what is given is copied.
void sallyport_resume(uint32_t worker, uint32_t place, uint64_t generation, const void *answer,
                      size_t len);
bool sallyport_end(uint32_t worker, uint32_t place, uint64_t generation, bool stale,
                   const void *answer, size_t len);
// Has Envoy's main thread told that the gate is ready, or has stopped.
void sallyport_tell(uint64_t event);
void sallyport_log(int level, const char *message, size_t len);
// The address that a request came from, as "ip:port"; empty when there is none.
buffer sallyport_source(envoy_filter);

// What is remembered of an answer, laid out as package filter's Keep, which says what it means.
enum { max_classes = 7 };
typedef struct {
	int64_t lasts;
	uint64_t all, version[max_classes];
	int64_t lifetime, least;
	uint32_t entry, classes, class_of[max_classes];
	uint32_t lifetime_at, lifetime_len, id_at;
} sallyport_keep;

// Numbers that move when what is remembered may be no longer true: Go moves them.
enum { version_words = 1 + (1 << 14) };
extern uint64_t sallyport_versions[version_words];

enum { sallyport_entries = 4096, watched_at_once = 128 };

// A stream that was let pass by a remembered answer.
typedef struct {
	uint64_t generation;
	uint32_t place, entry;
} sallyport_stream;

// Called by Go, too. Writes which of watched_at_once places of a worker, the next after from, have
// such streams, and returns how many; -1 when there are no such places.
int sallyport_watched(uint32_t worker, uint32_t from, sallyport_stream *to);
// What a worker has let pass by what it remembers, how much of that by a token, and how many bytes
// that takes.
typedef struct {
	uint64_t requests, tokens, bytes;
} sallyport_done;
// False for a worker that there is not.
bool sallyport_given(uint32_t worker, sallyport_done *);

enum { tell_ready = 1, tell_stopped = 2 };

#endif

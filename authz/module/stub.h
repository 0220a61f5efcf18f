//go:build envoystub

// Envoy, as far as this module calls it, for tests of its C without Envoy.
#ifndef SALLYPORT_STUB_H
#define SALLYPORT_STUB_H

#include "envoy.h"

// A stream of the stub's. What the module does to it is written down in told, a line each.
typedef struct {
	header *headers; // of the request, while its hook runs
	size_t count;
	buffer policy; // of the route
	buffer peer;
	const void *module; // the module's own
	const void *route;
	int status; // what the hook for the request's headers returned
	char *told;
	size_t told_len;
	uint64_t events[8]; // committed and not run yet
	size_t event_count;
} stub_stream;

void *stub_config(void);
void stub_close_config(void *);
stub_stream *stub_open(const void *config, header *headers, size_t count, buffer policy, buffer peer);
// Runs the hook for the response's headers.
void stub_respond(stub_stream *);
// Runs what was committed, and returns how many events that were.
size_t stub_run(stub_stream *);
void stub_close(stub_stream *);
// Moves the clocks that the module reads.
void stub_pass(int64_t monotonic, int64_t wall);

#endif

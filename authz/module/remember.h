// Answers that are given again without asking Go: a worker's own, which no other thread touches.
#ifndef SALLYPORT_REMEMBER_H
#define SALLYPORT_REMEMBER_H

#include "stream.h"

// A request, as far as its answer may depend on it.
typedef struct {
	buffer policy, peer;
	const header *headers;
	size_t count;

	uint64_t hash;
	size_t size; // as an entry keeps it
} request;

typedef struct {
	int64_t monotonic, wall; // nanoseconds
} moment;

typedef struct {
	char *bytes; // the request, then the answer; NULL: the entry is empty
	size_t request_size, answer_size, count; // of the request's headers, all of them
	moment asked; // before the answer was made
	sallyport_keep keep;
	uint64_t made, used; // when it was, and was last, in requests
	uint32_t streams; // open ones that were let pass by it: as long, its number is no other's
} entry;

typedef struct {
	uint64_t seed, uses;
	uint64_t random[512]; // for decisions' IDs
	size_t random_left;
	uint64_t bytes; // of all entries; others read it
	uint32_t hand;  // the next entry to be forgotten if there is no room
	uint64_t hashes[sallyport_entries]; // of the requests of entries, side by side to be looked through
	entry entries[sallyport_entries];
} memory;

// Returns an empty memory; NULL without one.
memory *new_memory(void);

// Hashes a request.
void hash_request(const memory *, request *);

moment read_clocks(void);

// Returns the entry of a request whose answer, unless something has moved, holds at a moment; NULL for
// none.
entry *recall(memory *, const request *, const moment *now);

// Reports whether what was revoked or changed since has left an entry alone.
bool unmoved(const entry *);

// Makes an entry's answer one for a request of this moment, with an ID of its own; false when it has
// to be made anew.
bool renew(memory *, entry *, const moment *now);

// Returns the number of an entry that may be overwritten; sallyport_entries for none.
uint32_t free_entry(const memory *, const request *);

// Keeps an answer under keep's entry.
void keep_answer(memory *, const request *, const moment *asked, const sallyport_keep *,
                 const char *answer, size_t size);

#endif

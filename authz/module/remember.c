// Answers that are given again without asking Go. What they hold by is package filter's Keep.

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "remember.h"

uint64_t sallyport_versions[version_words];

enum {
	ways = 8, // entries that a request may have
	most_bytes = 8 << 20,
	most_entry_bytes = 32 << 10,
	most_looked_at = 256,
};

memory *new_memory(void) {
	memory *m = calloc(1, sizeof(memory));
	if (m == NULL) return NULL;
	// Who sends requests must not be able to choose ones that share an entry.
	if (getrandom(&m->seed, sizeof m->seed, 0) != sizeof m->seed) {
		free(m);
		return NULL;
	}
	return m;
}

static bool is(const header *h, buffer name) {
	return h->name_len == name.len && memcmp(h->name, name.ptr, name.len) == 0;
}

// authz.PassedOver: headers that differ from request to request. Go says of no answer that it holds
// which depends on one of them.
static bool passed_over(const header *h) {
	static const buffer names[] = {
		TEXT("x-request-id"), TEXT("traceparent"), TEXT("tracestate"), TEXT("content-length"),
		TEXT("x-b3-traceid"), TEXT("x-b3-spanid"), TEXT("x-b3-parentspanid"),
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (is(h, names[i])) return true;
	}
	return false;
}

static uint64_t mix(uint64_t a, uint64_t b) {
	__uint128_t product = (__uint128_t)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_text(uint64_t h, const char *at, size_t len) {
	h = mix(h ^ len, 0x9e3779b97f4a7c15u);
	for (; len >= 8; at += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, at, 8);
		h = mix(h ^ word, 0xd6e8feb86659fd93u);
	}
	uint64_t rest = 0;
	if (len > 0) memcpy(&rest, at, len);
	return mix(h ^ rest, 0xa0761d6478bd642fu);
}

static size_t size_of(size_t text) { return sizeof(uint32_t) + text; }

// The end of a value, by which most differ: a token's signature, a cookie's last words. What a hash
// leaves out only has requests share the ways that they have.
static uint64_t hash_end(uint64_t h, const char *at, size_t len) {
	uint64_t end = 0;
	size_t n = len < sizeof end ? len : sizeof end;
	if (n > 0) memcpy(&end, at + len - n, n);
	return mix(h ^ end, 0xe7037ed1a0b428dbu + len);
}

void hash_request(const memory *m, request *r) {
	r->hash = hash_text(hash_text(m->seed, r->policy.ptr, r->policy.len), r->peer.ptr, r->peer.len);
	r->size = size_of(r->policy.len) + size_of(r->peer.len);
	for (size_t i = 0; i < r->count; i++) {
		const header *h = &r->headers[i];
		if (passed_over(h)) continue;
		// The path is what one client's requests differ in.
		r->hash = is(h, TEXT(":path")) ? hash_text(r->hash, h->value, h->value_len)
		                                : hash_end(r->hash, h->value, h->value_len);
		r->size += size_of(h->name_len) + size_of(h->value_len);
	}
}

// A text is kept as its length and its bytes, so that no two requests are kept as the same bytes.
static char *write_text(char *to, const char *text, size_t len) {
	uint32_t n = len;
	memcpy(to, &n, sizeof n);
	if (len > 0) memcpy(to + sizeof n, text, len);
	return to + size_of(len);
}

static void write_request(char *to, const request *r) {
	to = write_text(to, r->policy.ptr, r->policy.len);
	to = write_text(to, r->peer.ptr, r->peer.len);
	for (size_t i = 0; i < r->count; i++) {
		const header *h = &r->headers[i];
		if (passed_over(h)) continue;
		to = write_text(to, h->name, h->name_len);
		to = write_text(to, h->value, h->value_len);
	}
}

// Compares a text with the one that was kept, and moves on behind that; there is as much left there
// as the request needs in all.
static bool same_text(const char **kept, const char *text, size_t len) {
	uint32_t n;
	memcpy(&n, *kept, sizeof n);
	if (n != len || (len > 0 && memcmp(*kept + sizeof n, text, len) != 0)) return false;
	*kept += size_of(len);
	return true;
}

static bool same_request(const entry *e, const request *r) {
	// Of the same size in all: a text that is as long as the one kept lies within.
	if (e->bytes == NULL || e->request_size != r->size || e->count != r->count) return false;
	const char *kept = e->bytes;
	if (!same_text(&kept, r->policy.ptr, r->policy.len) || !same_text(&kept, r->peer.ptr, r->peer.len))
		return false;
	for (size_t i = 0; i < r->count; i++) {
		const header *h = &r->headers[i];
		if (passed_over(h)) continue;
		if (!same_text(&kept, h->name, h->name_len) || !same_text(&kept, h->value, h->value_len))
			return false;
	}
	return true;
}

static int64_t read_clock(clockid_t clock) {
	struct timespec t = {0, 0};
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

moment read_clocks(void) {
	return (moment){read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_REALTIME)};
}

// The larger of the times that have passed on the two clocks: one stops while the machine is
// suspended, the other may be set.
static int64_t since(const moment *then, const moment *now) {
	int64_t monotonic = now->monotonic - then->monotonic, wall = now->wall - then->wall;
	return monotonic > wall ? monotonic : wall;
}

bool unmoved(const entry *e) {
	const sallyport_keep *k = &e->keep;
	if (__atomic_load_n(&sallyport_versions[0], __ATOMIC_ACQUIRE) != k->all) return false;
	for (uint32_t i = 0; i < k->classes; i++) {
		if (__atomic_load_n(&sallyport_versions[1 + k->class_of[i]], __ATOMIC_ACQUIRE) != k->version[i])
			return false;
	}
	return true;
}

static uint32_t first_way(uint64_t hash) { return hash % (sallyport_entries / ways) * ways; }

entry *recall(memory *m, const request *r, const moment *now) {
	uint32_t first = first_way(r->hash);
	entry *newest = NULL;
	for (uint32_t i = first; i < first + ways; i++) {
		entry *e = &m->entries[i];
		// An entry that had streams when it was over stands beside its successor.
		if (m->hashes[i] == r->hash && same_request(e, r) &&
		    (newest == NULL || e->made > newest->made))
			newest = e;
	}
	if (newest == NULL || since(&newest->asked, now) >= newest->keep.lasts) return NULL;
	newest->used = ++m->uses;
	return newest;
}

// Fetches the kernel's random numbers for many IDs at once; false without.
static bool has_random(memory *m, size_t words) {
	if (m->random_left >= words) return true;
	// Up to 256 bytes come whole or not at all (getrandom(2)); of more, all or less.
	ssize_t got = getrandom(m->random, sizeof m->random, GRND_NONBLOCK);
	m->random_left = got < 0 ? 0 : (size_t)got / sizeof *m->random;
	return m->random_left >= words;
}

static uint64_t next_random(memory *m) { return m->random[--m->random_left]; }

static void write_hex(char *to, uint64_t n) {
	for (int i = 15; i >= 0; i--, n >>= 4) to[i] = "0123456789abcdef"[n & 15];
}

bool renew(memory *m, entry *e, const moment *now) {
	const sallyport_keep *k = &e->keep;
	char *answer = e->bytes + e->request_size;
	if (k->lifetime_len > 0) {
		int64_t left = k->lifetime - since(&e->asked, now) / 1000000 - 1;
		if (left < k->least) left = k->least;
		// Written from the last digit on; with fewer of them the answer would be another.
		char *first = answer + k->lifetime_at;
		for (char *digit = first + k->lifetime_len; digit-- > first; left /= 10) {
			*digit = '0' + left % 10;
		}
		if (left != 0 || *first == '0') return false;
	}
	if (k->id_at > 0) {
		if (!has_random(m, 2)) return false;
		write_hex(answer + k->id_at, next_random(m));
		write_hex(answer + k->id_at + 16, next_random(m));
	}
	return true;
}

uint32_t free_entry(const memory *m, const request *r) {
	uint32_t first = first_way(r->hash), found = sallyport_entries;
	for (uint32_t i = first; i < first + ways; i++) {
		const entry *e = &m->entries[i];
		if (e->streams > 0) continue;
		// Of one request there is one entry.
		if (e->bytes == NULL || (m->hashes[i] == r->hash && same_request(e, r))) return i;
		if (found == sallyport_entries || e->used < m->entries[found].used) found = i;
	}
	return found;
}

static void set_bytes(memory *m, uint64_t bytes) {
	__atomic_store_n(&m->bytes, bytes, __ATOMIC_RELAXED);
}

static void forget(memory *m, entry *e) {
	if (e->bytes != NULL) set_bytes(m, m->bytes - e->request_size - e->answer_size);
	free(e->bytes);
	e->bytes = NULL;
}

// Forgets entries in turn until there is room for size bytes more, and reports whether there is. Of an
// entry that streams were let pass by, the number is needed, and not what it holds.
static bool make_room(memory *m, size_t size) {
	for (int i = 0; i < most_looked_at && m->bytes + size > most_bytes; i++) {
		entry *e = &m->entries[m->hand];
		m->hand = (m->hand + 1) % sallyport_entries;
		forget(m, e);
	}
	return m->bytes + size <= most_bytes;
}

void keep_answer(memory *m, const request *r, const moment *asked, const sallyport_keep *k,
                 const char *answer, size_t size) {
	if (k->entry >= sallyport_entries || k->classes > max_classes) return;
	entry *e = &m->entries[k->entry];
	if (e->streams > 0) return;
	// What the entry had is another's from now on, whether there is room for the new answer or not.
	forget(m, e);
	size_t all = r->size + size;
	if (all > most_entry_bytes || !make_room(m, all)) return;
	if (k->lifetime_at + (size_t)k->lifetime_len > size || k->id_at + (size_t)32 > size) return;
	char *bytes = malloc(all);
	m->uses++;
	if (bytes == NULL) return;
	write_request(bytes, r);
	memcpy(bytes + r->size, answer, size);
	*e = (entry){
		.bytes = bytes, .request_size = r->size, .answer_size = size, .count = r->count, .asked = *asked, .keep = *k,
		.used = m->uses, .made = m->uses,
	};
	m->hashes[k->entry] = r->hash;
	set_bytes(m, m->bytes + all);
}

// The life of a request: hooks of Envoy's HTTP filter. Go is entered once, when a request begins, or
// not at all if its answer is remembered; what the answer says is done here, without Go.

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"
#include "remember.h"
#include "stream.h"

static const buffer nothing = {NULL, 0};

// The head of an answer, as package filter writes it, and its values.
typedef struct {
	uint32_t verdict, found, status, grpc, headers;
} head;
enum { verdict_allow = 1, verdict_watch = 2, verdict_refuse = 3, verdict_held = 4 };
enum { found_grpc = 1, found_upgrade = 2 };
#define GONE 0xffffffffu

enum { max_answer = 64 << 10, max_workers = 1024, chunk_size = 1024, max_chunks = 1024 };
enum { event_resume = 1, event_revoked = 2, event_stale = 3 };

// What a client is told when nothing else can be said.
static const char broken_body[] =
	"{\"error\":\"temporarily_unavailable\",\"error_description\":\"The gate has failed.\"}";

// A filter configuration: Envoy's counters. It is C's own, so that a pointer to it may be kept by
// Envoy.
typedef struct {
	size_t allowed, refused, ended;
} counters;

// A per-route configuration.
typedef struct {
	bool off;
	buffer policy; // the name of one
} route;

struct worker;

// A stream's place. All but what the mutex guards is the business of the worker's thread alone.
typedef struct place {
	struct worker *worker;
	struct place *next; // free places
	uint32_t index;
	uint32_t found;     // of the request
	bool responded;     // the response has begun
	bool websocket;     // and is one
	bool grpc;          // or one of gRPC, with trailers
	bool ended;
	char *client; // headers of the answer to the client, as an answer has them
	size_t client_len;
	const counters *counters;
	entry *by; // the remembered answer that let the stream pass; NULL: Go has been asked

	// Guarded by the worker's mutex, as others ask for it.
	uint64_t generation; // of the stream that has the place
	envoy_scheduler scheduler;
	uint64_t pending; // an event that has come before the scheduler
	char *answer;     // to be applied
	size_t answer_len;
	bool watched; // by is what has it pass, and nobody has ended it
} place;

// A thread of Envoy's. There are as many as --concurrency says, and they live as long as Envoy.
typedef struct worker {
	pthread_mutex_t mutex;
	uint32_t index;
	place *free;
	place *chunks[max_chunks];
	uint32_t chunk_count;
	memory *memory;  // NULL: nothing is remembered
	uint64_t given;  // requests that went by what is
	uint64_t tokens; // and those of them that had a token
	char answer[max_answer];
} worker;

static pthread_mutex_t workers_mutex = PTHREAD_MUTEX_INITIALIZER;
static worker *workers[max_workers];
static uint32_t worker_count;
static __thread worker *this_worker;

static worker *find_worker(void) {
	if (this_worker != NULL) return this_worker;
	worker *w = calloc(1, sizeof(worker));
	if (w == NULL) return NULL;
	pthread_mutex_init(&w->mutex, NULL);
	w->memory = new_memory();
	pthread_mutex_lock(&workers_mutex);
	if (worker_count < max_workers) {
		w->index = worker_count;
		__atomic_store_n(&workers[worker_count++], w, __ATOMIC_RELEASE);
		this_worker = w;
	}
	pthread_mutex_unlock(&workers_mutex);
	if (this_worker == NULL) {
		free(w->memory);
		free(w);
	}
	return this_worker;
}

// Makes more places; the caller holds the mutex.
static void add_chunk(worker *w) {
	if (w->chunk_count == max_chunks) return;
	place *all = calloc(chunk_size, sizeof(place));
	if (all == NULL) return;
	for (uint32_t i = chunk_size; i-- > 0;) {
		all[i].worker = w;
		all[i].index = w->chunk_count * chunk_size + i;
		all[i].generation = 1;
		all[i].next = w->free;
		w->free = &all[i];
	}
	w->chunks[w->chunk_count++] = all;
}

static place *take_place(void) {
	worker *w = find_worker();
	if (w == NULL) return NULL;
	pthread_mutex_lock(&w->mutex);
	if (w->free == NULL) add_chunk(w);
	place *p = w->free;
	if (p != NULL) w->free = p->next;
	pthread_mutex_unlock(&w->mutex);
	return p;
}

static void give_place(place *p) {
	pthread_mutex_lock(&p->worker->mutex);
	if (p->scheduler != NULL) CALLBACK(http_filter_scheduler_delete)(p->scheduler);
	free(p->answer);
	free(p->client);
	p->scheduler = NULL;
	p->client = NULL;
	p->client_len = 0;
	p->answer = NULL;
	p->answer_len = 0;
	p->pending = 0;
	p->found = 0;
	if (p->by != NULL) p->by->streams--;
	p->by = NULL;
	p->watched = false;
	p->responded = p->websocket = p->grpc = p->ended = false;
	p->generation++; // from here on nobody reaches the stream that is over
	p->next = p->worker->free;
	p->worker->free = p;
	pthread_mutex_unlock(&p->worker->mutex);
}

// Lets others reach the stream: they may have tried already. It is watched by the remembered answer
// that it passes by, unless that is NULL.
static bool open_place(place *p, envoy_filter f, entry *by) {
	pthread_mutex_lock(&p->worker->mutex);
	if (p->scheduler == NULL) p->scheduler = CALLBACK(http_filter_scheduler_new)(f);
	bool open = p->scheduler != NULL;
	if (open && p->pending != 0) {
		CALLBACK(http_filter_scheduler_commit)(p->scheduler, p->pending);
		p->pending = 0;
	}
	if (open && by != NULL) {
		p->by = by;
		p->watched = true;
		by->streams++;
	}
	pthread_mutex_unlock(&p->worker->mutex);
	return open;
}

static void unwatch_place(place *p) {
	pthread_mutex_lock(&p->worker->mutex);
	p->by->streams--;
	p->by = NULL;
	p->watched = false;
	pthread_mutex_unlock(&p->worker->mutex);
}

// Leaves an answer with a stream and wakes its worker.
static bool reach(uint32_t w, uint32_t index, uint64_t generation, uint64_t event,
                  const void *answer, size_t len) {
	if (w >= max_workers) return false;
	worker *at = __atomic_load_n(&workers[w], __ATOMIC_ACQUIRE);
	if (at == NULL || index / chunk_size >= max_chunks) return false;
	bool reached = false;
	pthread_mutex_lock(&at->mutex);
	place *chunk = at->chunks[index / chunk_size];
	place *p = chunk == NULL ? NULL : &chunk[index % chunk_size];
	if (p != NULL && p->generation == generation) {
		reached = true;
		if (event != event_resume) p->watched = false;
		// An answer that has not been applied yet gives way to the end, and the end to nothing.
		bool awaited = p->answer != NULL;
		if (!awaited || event != event_resume) {
			free(p->answer);
			p->answer = malloc(len);
			if (p->answer != NULL) {
				memcpy(p->answer, answer, len);
				p->answer_len = len;
			}
		}
		// Without memory the stream is woken all the same, and refused.
		if (!awaited && p->scheduler != NULL) {
			CALLBACK(http_filter_scheduler_commit)(p->scheduler, event);
		} else if (!awaited) {
			p->pending = event;
		}
	}
	pthread_mutex_unlock(&at->mutex);
	return reached;
}

void sallyport_resume(uint32_t w, uint32_t index, uint64_t generation, const void *answer,
                      size_t len) {
	reach(w, index, generation, event_resume, answer, len);
}

bool sallyport_end(uint32_t w, uint32_t index, uint64_t generation, bool stale, const void *answer,
                   size_t len) {
	return reach(w, index, generation, stale ? event_stale : event_revoked, answer, len);
}

buffer sallyport_source(envoy_filter f) {
	buffer address = nothing;
	if (!CALLBACK(http_filter_get_attribute_string)(f, attribute_source_address, &address))
		return nothing;
	return address;
}

// Whose certificate Envoy has checked: what ext_authz calls the principal, the first of its URIs,
// else of its DNS names, else its subject.
static buffer peer(envoy_filter f) {
	static const int ids[] = {attribute_peer_uri, attribute_peer_dns, attribute_peer_subject};
	bool mutual = false;
	if (!CALLBACK(http_filter_get_attribute_bool)(f, attribute_mtls, &mutual) || !mutual)
		return nothing;
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		buffer name = nothing;
		if (CALLBACK(http_filter_get_attribute_string)(f, ids[i], &name) && name.len > 0) return name;
	}
	return nothing;
}

// Reads an answer, within its bounds.
typedef struct {
	const char *at, *end;
	bool broken;
} reader;

static uint32_t read_number(reader *r) {
	uint32_t n = 0;
	if (r->end - r->at < (ptrdiff_t)sizeof n) {
		r->broken = true;
		return 0;
	}
	memcpy(&n, r->at, sizeof n);
	r->at += sizeof n;
	return n;
}

static buffer read_text(reader *r, uint32_t len) {
	buffer b = {r->at, len};
	if (r->end - r->at < (ptrdiff_t)len) {
		r->broken = true;
		return nothing;
	}
	r->at += len;
	return b;
}

static header read_header(reader *r) {
	uint32_t name_len = read_number(r), value_len = read_number(r);
	buffer name = read_text(r, name_len);
	buffer value = value_len == GONE ? nothing : read_text(r, value_len);
	return (header){name.ptr, name.len, value.ptr, value.len};
}

static head read_head(reader *r) {
	head h;
	h.verdict = read_number(r);
	h.found = read_number(r);
	h.status = read_number(r);
	h.grpc = read_number(r);
	h.headers = read_number(r);
	if (r->broken) h.verdict = 0;
	return h;
}

// The content type of gRPC over HTTP/2, which has a status of its own.
static bool is_grpc(envoy_filter f, int kind) {
	buffer type = nothing, grpc = TEXT("application/grpc");
	if (!CALLBACK(http_get_header)(f, kind, TEXT("content-type"), &type, 0, NULL)) return false;
	if (type.len < grpc.len || memcmp(type.ptr, grpc.ptr, grpc.len) != 0) return false;
	return type.len == grpc.len || type.ptr[grpc.len] == '+' || type.ptr[grpc.len] == ';';
}

// Refuses when nobody has said how: what an answer would tell of the request is not known either.
static void send_broken(envoy_filter f) {
	header headers[] = {
		{"content-type", 12, "application/json", 16},
		{"cache-control", 13, "no-store", 8},
		{"x-sallyport-reason", 18, "internal", 8},
		{"grpc-status", 11, "14", 2}, // for gRPC alone
	};
	CALLBACK(http_send_response)(f, 503, headers, is_grpc(f, kind_request) ? 4 : 3, TEXT(broken_body),
	                             TEXT("sallyport_internal"));
}

enum { max_refusal_headers = 16 };

// Sends a refusal. Envoy gives a gRPC client no status that the module does not name.
static void send_refusal(envoy_filter f, const counters *c, head h, reader *r, uint32_t found) {
	header headers[max_refusal_headers + 1];
	if (h.headers > max_refusal_headers) {
		send_broken(f);
		return;
	}
	for (uint32_t i = 0; i < h.headers; i++) headers[i] = read_header(r);
	buffer body = read_text(r, read_number(r)), details = read_text(r, read_number(r));
	if (r->broken || h.status < 200 || h.status > 599 || h.grpc == 0 || h.grpc > 16) {
		send_broken(f);
		return;
	}
	char grpc[2];
	if (found & found_grpc) {
		size_t n = 0;
		if (h.grpc >= 10) grpc[n++] = '0' + h.grpc / 10;
		grpc[n++] = '0' + h.grpc % 10;
		headers[h.headers++] = (header){"grpc-status", 11, grpc, n};
	}
	const size_t prefix = sizeof("sallyport_") - 1;
	if (details.len > prefix) {
		buffer reason = {details.ptr + prefix, details.len - prefix};
		CALLBACK(http_filter_increment_counter)(f, c->refused, &reason, 1, 1);
	}
	CALLBACK(http_send_response)(f, h.status, headers, h.headers, body, details);
}

// Does what stands behind the headers of a request that may pass: keeps headers for the answer to the
// client, and tells other filters what they are to know.
static bool apply_more(place *p, envoy_filter f, reader *r) {
	const char *begin = r->at;
	for (uint32_t n = read_number(r); n > 0 && !r->broken; n--) read_header(r);
	if (r->broken) return false;
	size_t len = r->at - begin;
	if (len > sizeof(uint32_t)) {
		p->client = malloc(len);
		if (p->client == NULL) return false;
		memcpy(p->client, begin, len);
		p->client_len = len;
	}
	for (uint32_t n = read_number(r); n > 0; n--) {
		header one = read_header(r);
		if (r->broken) return false;
		CALLBACK(http_set_dynamic_metadata_string)(f, TEXT("sallyport"),
		                                           (buffer){one.name, one.name_len},
		                                           (buffer){one.value, one.value_len});
	}
	return !r->broken;
}

// Sets the headers that were kept for the answer to the client.
static void tell_client(place *p, envoy_filter f) {
	if (p->client == NULL) return;
	reader r = {p->client, p->client + p->client_len, false};
	for (uint32_t n = read_number(&r); n > 0; n--) {
		header one = read_header(&r);
		if (r.broken) return;
		buffer name = {one.name, one.name_len}, value = {one.value, one.value_len};
		if (name.len == 4 && memcmp(name.ptr, "vary", 4) == 0) { // a list, of which this is a part
			CALLBACK(http_add_header)(f, kind_response, name, value);
		} else {
			CALLBACK(http_set_header)(f, kind_response, name, value);
		}
	}
}

// Changes the headers of a request that may pass.
static bool apply(place *p, envoy_filter f, head h, reader *r) {
	for (uint32_t i = 0; i < h.headers; i++) {
		header one = read_header(r);
		if (r->broken || one.name_len == 0) return false;
		if (!CALLBACK(http_set_header)(f, kind_request, (buffer){one.name, one.name_len},
		                               (buffer){one.value, one.value_len}))
			return false;
	}
	// The route is chosen again: it may depend on who calls.
	if (h.headers > 0) CALLBACK(http_clear_route_cache)(f);
	if (r->at < r->end && !apply_more(p, f, r)) return false;
	CALLBACK(http_filter_increment_counter)(f, p->counters->allowed, NULL, 0, 1);
	return true;
}

// Does what an answer says, and reports whether the request may go on.
static bool act(place *p, envoy_filter f, const char *answer, size_t len) {
	reader r = {answer, answer + len, answer == NULL};
	head h = read_head(&r);
	switch (h.verdict) {
	case verdict_watch:
		// A stream that could not be ended later does not begin.
		if (!open_place(p, f, NULL)) break;
		// fall through
	case verdict_allow:
		if (apply(p, f, h, &r)) return true;
		break;
	case verdict_refuse:
		send_refusal(f, p->counters, h, &r, p->found);
		return false;
	}
	send_broken(f);
	return false;
}

static void say(int level, const char *message) {
	CALLBACK(log)(level, (buffer){message, strlen(message)});
}

const void *envoy_dynamic_module_on_http_filter_config_new(envoy_config config, buffer name,
                                                           buffer settings) {
	(void)name;
	if (settings.len > 0) {
		say(log_error, "sallyport: the filter has no filter_config; the gate's settings are those of "
		               "the bootstrap extension");
		return NULL;
	}
	if (!sallyport_attached()) {
		say(log_error, "sallyport: expected the bootstrap extension sallyport, which has the gate's "
		               "settings, got none: see bootstrap_extensions in docs/in-process.md");
		return NULL;
	}
	counters *c = calloc(1, sizeof(counters));
	if (c == NULL) return NULL;
	buffer reason = TEXT("reason");
	if (CALLBACK(http_filter_config_define_counter)(config, TEXT("sallyport_allowed"), NULL, 0,
	                                                &c->allowed) != 0 ||
	    CALLBACK(http_filter_config_define_counter)(config, TEXT("sallyport_refused"), &reason, 1,
	                                                &c->refused) != 0 ||
	    CALLBACK(http_filter_config_define_counter)(config, TEXT("sallyport_streams_ended"), NULL, 0,
	                                                &c->ended) != 0) {
		say(log_error, "sallyport: Envoy took no counters");
		free(c);
		return NULL;
	}
	return c;
}

void envoy_dynamic_module_on_http_filter_config_destroy(const void *config) {
	free((void *)config);
}

const void *envoy_dynamic_module_on_http_filter_per_route_config_new(buffer name, buffer settings) {
	(void)name;
	buffer off = TEXT("off"), policy = TEXT("policy=");
	bool is_off = settings.len == off.len && memcmp(settings.ptr, off.ptr, off.len) == 0;
	bool named = settings.len > policy.len && memcmp(settings.ptr, policy.ptr, policy.len) == 0;
	if (!is_off && !named) {
		say(log_error, "sallyport: expected the filter_config of a route to be the string off, or "
		               "policy= and the name of one of policies in the gate's settings");
		return NULL;
	}
	route *r = calloc(1, sizeof(route));
	if (r == NULL) return NULL;
	r->off = is_off;
	if (named) {
		size_t len = settings.len - policy.len;
		char *copy = malloc(len);
		if (copy == NULL) {
			free(r);
			return NULL;
		}
		memcpy(copy, settings.ptr + policy.len, len);
		r->policy = (buffer){copy, len};
	}
	return r;
}

void envoy_dynamic_module_on_http_filter_per_route_config_destroy(const void *config) {
	const route *r = config;
	if (r != NULL) free((void *)r->policy.ptr);
	free((void *)config);
}

// The place of a stream that there is none for.
static place no_place;

const void *envoy_dynamic_module_on_http_filter_new(const void *config, envoy_filter f) {
	(void)f;
	place *p = take_place();
	if (p == NULL) return &no_place;
	p->counters = config;
	return p;
}

// Answers a request from memory, and reports whether it could.
static bool answer_again(place *p, envoy_filter f, const request *asked, const moment *now,
                         int *status) {
	worker *w = p->worker;
	entry *e = recall(w->memory, asked, now);
	if (e == NULL) return false;
	reader r = {e->bytes + e->request_size, e->bytes + e->request_size + e->answer_size, false};
	head h = read_head(&r);
	if (!renew(w->memory, e, now)) return false;
	bool watch = h.verdict == verdict_watch;
	if (watch && !open_place(p, f, e)) return false;
	// Only now. Whoever revokes moves a number, then looks for streams: either this stream is found, or
	// the number is seen to have moved.
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!unmoved(e)) {
		if (watch) unwatch_place(p);
		return false;
	}
	p->found = h.found;
	if (!act(p, f, e->bytes + e->request_size, e->answer_size)) {
		*status = status_stop;
		return true;
	}
	__atomic_store_n(&w->given, w->given + 1, __ATOMIC_RELAXED);
	if (watch) __atomic_store_n(&w->tokens, w->tokens + 1, __ATOMIC_RELAXED);
	*status = status_continue;
	return true;
}

// Answers a request, or holds it.
static int answer_request(place *p, envoy_filter f, request *asked) {
	worker *w = p->worker;
	sallyport_keep keep = {.entry = sallyport_entries};
	moment now = read_clocks();
	if (w->memory != NULL) {
		int status;
		hash_request(w->memory, asked);
		if (answer_again(p, f, asked, &now, &status)) return status;
		keep.entry = free_entry(w->memory, asked);
	}
	size_t len = sallyport_request(f, w->index, p->index, p->generation, (header *)asked->headers,
	                               asked->count, asked->peer, asked->policy, w->answer, max_answer,
	                               &keep);
	if (keep.lasts > 0) keep_answer(w->memory, asked, &now, &keep, w->answer, len);
	reader r = {w->answer, w->answer + len, false};
	head h = read_head(&r);
	p->found = h.found;
	if (h.verdict == verdict_held) {
		if (open_place(p, f, NULL)) return status_stop_all_watermark;
		send_broken(f);
		return status_stop;
	}
	return act(p, f, w->answer, len) ? status_continue : status_stop;
}

int sallyport_watched(uint32_t w, uint32_t from, sallyport_stream *to) {
	worker *at = w < max_workers ? __atomic_load_n(&workers[w], __ATOMIC_ACQUIRE) : NULL;
	if (at == NULL) return -1;
	int n = 0;
	pthread_mutex_lock(&at->mutex);
	uint32_t places = at->chunk_count * chunk_size;
	for (uint32_t i = from; i < from + watched_at_once && i < places; i++) {
		const place *p = &at->chunks[i / chunk_size][i % chunk_size];
		if (!p->watched) continue;
		to[n++] = (sallyport_stream){p->generation, i, p->by - at->memory->entries};
	}
	pthread_mutex_unlock(&at->mutex);
	return from < places || from == 0 ? n : -1;
}

bool sallyport_given(uint32_t w, sallyport_done *done) {
	worker *at = w < max_workers ? __atomic_load_n(&workers[w], __ATOMIC_ACQUIRE) : NULL;
	if (at == NULL) return false;
	done->requests = __atomic_load_n(&at->given, __ATOMIC_RELAXED);
	done->tokens = __atomic_load_n(&at->tokens, __ATOMIC_RELAXED);
	done->bytes = at->memory == NULL ? 0 : __atomic_load_n(&at->memory->bytes, __ATOMIC_RELAXED);
	return true;
}

enum { few_headers = 128, most_headers = 4096 };

int envoy_dynamic_module_on_http_filter_request_headers(envoy_filter f, const void *m, bool end) {
	(void)end;
	place *p = (place *)m;
	const route *r = CALLBACK(get_most_specific_route_config)(f);
	if (r != NULL && r->off) return status_continue;
	request asked = {.policy = r != NULL ? r->policy : nothing};
	size_t n = CALLBACK(http_get_headers_size)(f, kind_request);
	header few[few_headers], *all = few;
	if (n > few_headers) all = n > most_headers ? NULL : malloc(n * sizeof(header));
	if (p == &no_place || all == NULL || !CALLBACK(http_get_headers)(f, kind_request, all)) {
		if (all != few) free(all);
		send_broken(f);
		return status_stop;
	}
	asked.peer = peer(f);
	asked.headers = all;
	asked.count = n;
	int status = answer_request(p, f, &asked);
	if (all != few) free(all);
	return status;
}

// Whether the client's protocol has trailers: in HTTP/1.1 an answer without the rest would look whole.
static bool has_trailers(envoy_filter f) {
	buffer protocol = nothing;
	return CALLBACK(http_filter_get_attribute_string)(f, attribute_protocol, &protocol) &&
	       !(protocol.len >= 6 && memcmp(protocol.ptr, "HTTP/1", 6) == 0);
}

int envoy_dynamic_module_on_http_filter_response_headers(envoy_filter f, const void *m, bool end) {
	(void)end;
	place *p = (place *)m;
	if (p == &no_place) return status_continue;
	p->responded = true;
	tell_client(p, f);
	p->grpc = p->found & found_grpc && is_grpc(f, kind_response) && has_trailers(f);
	buffer status = nothing;
	if (p->found & found_upgrade &&
	    CALLBACK(http_get_header)(f, kind_response, TEXT(":status"), &status, 0, NULL))
		p->websocket = status.len == 3 && memcmp(status.ptr, "101", 3) == 0;
	return status_continue;
}

// How a stream's client and the access log are told why it ends.
typedef struct {
	buffer ended, details, message;
	buffer close;  // a frame of WebSocket (RFC 6455 sections 5.5.1 and 7.4.1)
	buffer status; // of gRPC
} ending;
static const ending revoked = {
	TEXT("revoked"), TEXT("sallyport_revoked"), TEXT("token revoked"),
	TEXT("\x88\x0f\x03\xf0token revoked"), // 1008: policy violation
	TEXT("16"),
};
static const ending stale = {
	TEXT("stale"), TEXT("sallyport_stale"), TEXT("revocations unknown"),
	TEXT("\x88\x15\x03\xf5revocations unknown"), // 1013: try again later
	TEXT("14"),
};

// Ends a stream before its time, as its kind of client understands it.
static void end_stream(place *p, envoy_filter f, const ending *e, const char *answer, size_t len) {
	if (p->ended) return;
	p->ended = true;
	CALLBACK(http_filter_increment_counter)(f, p->counters->ended, NULL, 0, 1);
	// For the access log: the details of a reset are lost once a response has begun.
	CALLBACK(http_set_dynamic_metadata_string)(f, TEXT("sallyport"), TEXT("ended"), e->ended);
	if (!p->responded) {
		act(p, f, answer, len);
	} else if (p->websocket) {
		CALLBACK(http_send_response_data)(f, e->close, true);
	} else if (p->grpc) {
		header trailers[] = {
			{"grpc-status", 11, e->status.ptr, e->status.len},
			{"grpc-message", 12, e->message.ptr, e->message.len},
		};
		CALLBACK(http_send_response_trailers)(f, trailers, 2);
	} else {
		// As if it were complete, a download would look whole.
		CALLBACK(http_filter_reset_stream)(f, 0, e->details);
	}
}

void envoy_dynamic_module_on_http_filter_scheduled(envoy_filter f, const void *m, uint64_t event) {
	place *p = (place *)m;
	pthread_mutex_lock(&p->worker->mutex);
	char *answer = p->answer;
	size_t len = p->answer_len;
	p->answer = NULL;
	pthread_mutex_unlock(&p->worker->mutex);
	if (event != event_resume) {
		end_stream(p, f, event == event_stale ? &stale : &revoked, answer, len);
	} else if (!p->responded && !p->ended && act(p, f, answer, len)) { // else it has been answered
		CALLBACK(http_filter_continue_decoding)(f);
	}
	free(answer);
}

void envoy_dynamic_module_on_http_filter_destroy(const void *m) {
	if (m != &no_place) give_place((place *)m);
}

// Hooks that Envoy wants to be there and this module has no use for.

#define UNUSED_STATUS(name)                                                                       \
	int envoy_dynamic_module_on_http_filter_##name(envoy_filter f, const void *m, bool end) {     \
		(void)f, (void)m, (void)end;                                                              \
		return status_continue;                                                                   \
	}
#define UNUSED(name)                                                                              \
	void envoy_dynamic_module_on_http_filter_##name(void) {}

UNUSED_STATUS(request_body)
UNUSED_STATUS(request_trailers)
UNUSED_STATUS(response_body)
UNUSED_STATUS(response_trailers)
UNUSED(stream_complete)
UNUSED(http_callout_done)
UNUSED(http_stream_headers)
UNUSED(http_stream_data)
UNUSED(http_stream_trailers)
UNUSED(http_stream_complete)
UNUSED(http_stream_reset)
UNUSED(downstream_above_write_buffer_high_watermark)
UNUSED(downstream_below_write_buffer_low_watermark)

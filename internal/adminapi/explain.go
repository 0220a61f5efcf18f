package adminapi

// ExplainPath, by POST at a gate's admin port, takes a Question and is answered with an Explanation.
// It carries that gate's admin token as bearer.
const ExplainPath = "/admin/explain"

// Question asks a gate why a request is decided as it is. The gate counts nothing and records
// nothing of it.
type Question struct {
	Method  string   `json:"method"`
	Host    string   `json:"host"` // host or host:port
	Path    string   `json:"path"` // with its query
	Headers []Header `json:"headers,omitempty"`
	// Peer is whose certificate the connection had; absent without one.
	Peer string `json:"peer,omitempty"`
	// Policy is the one that the proxy's route names; absent for the policy of those that name none.
	Policy string `json:"policy,omitempty"`
}

// Header is one line of a request's header.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Explanation is how a request is decided, step by step.
type Explanation struct {
	Allow  bool   `json:"allow"`
	Status int    `json:"status"` // what the client is answered by the gate; 200 when Allow
	Reason string `json:"reason"` // "allowed", or the reason of the refusal
	// Route is the route that the request falls under, or would in the case of a stricter one;
	// absent when there is none.
	Route string `json:"route,omitempty"`
	Steps []Step `json:"steps"`
}

// Step is one step to the decision, in the order in which they were taken.
type Step struct {
	Name    string `json:"name"`
	Outcome string `json:"outcome"` // ok, failed or note
	Text    string `json:"text"`
	Remedy  string `json:"remedy,omitempty"` // what would make it pass, if it failed
}

//go:build model

package model

// Mutation leaves one rule out, so that a test can see the explorer find what the rule prevents.
type Mutation uint8

// The rules that can be left out. Unmutated is the zero value: none.
const (
	Unmutated             Mutation = iota
	SeqWithoutChain                // a position is judged by its place alone
	HeadNotApplied                 // a heartbeat counts before its head is applied
	NoSettleOnReconnect            // a new connection goes on where the old one had settled
	WaitNotCompared                // what WAIT answered is taken as enough
	HeartbeatByRead                // a gate's heartbeat writes nothing and waits for nobody
	OwnSetAfterAck                 // an issuer holds what it appends only once that is acknowledged
	NoReappend                     // what the log has lost is not appended again
	MendingIgnored                 // a gate takes no notice of mending
	MendingForever                 // mending is announced whether or not anything is missing
	HeldDroppedOnReload            // what was held is dropped when the log is loaded again
	ReadyBeforeLastPage            // a copy is complete after its first page
	GapTakenAsNothing              // after a loss, a log that has nothing new counts as unchanged
	SecondHolderIgnored            // an append is acknowledged without a second holder
	AppendErrorIgnored             // an append whose answer was lost is acknowledged
	LossInvisibleToWriter          // a heartbeat does not say what its appends have stored
	HeadNotCreated                 // an issuer's heartbeat does not create a missing head
	LifeOfATokenAlone              // an entry for a session elsewhere lives no longer than others
	CarriedIsDropped               // what lives on is trimmed with what has expired
)

var mutationNames = [...]string{
	"none",
	"seq without chain",
	"head not applied",
	"no settling on reconnect",
	"WAIT not compared",
	"heartbeat by a read",
	"own set after the acknowledgement",
	"no re-append",
	"mending ignored",
	"mending never released",
	"held dropped on reload",
	"ready before the last page",
	"gap taken as nothing new",
	"second holder ignored",
	"append error ignored",
	"loss invisible to the writer",
	"head not created",
	"the life of a token alone",
	"carried is dropped",
}

func (m Mutation) String() string { return mutationNames[m] }

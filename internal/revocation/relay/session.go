package relay

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/listen"
	"github.com/sallyport/sallyport/internal/revocation/redislog"
)

// Log is the relay's own end of the log.
type Log interface {
	Beat(ctx context.Context, seq uint64) (redislog.Beat, error)
	Tail(ctx context.Context, seq uint64, count int) ([]byte, error)
	Page(ctx context.Context, from uint64, count int) ([]byte, error)
	Line(n int) string
	SetLine(n int, text string, free bool) bool
}

// The bounds of a connection in time.
const (
	greetWithin = 2 * time.Second // until it has said who it is
	writeWithin = 2 * time.Second // until an answer has been taken; a gate waits no longer for it
	longestWait = 10 * time.Second
	// A gate sends a heartbeat, and reads, more often than it may wait.
	idleWithin = 2 * longestWait
)

// errRefused ends a connection that has been told why.
var errRefused = errors.New("relay: refused")

// errMoved ends a connection whose heartbeats were answered over a connection to Redis that is in
// use no more: what they settled on is gone.
var errMoved = errors.New("relay: the connection to Redis is another")

// session is one connection of a gate's.
type session struct {
	*Server
	conn     net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	began    time.Time
	place    *listen.Place
	known    bool // it has said who it is
	wrong    int  // passwords
	replicas int  // that have the write of the EXEC just answered; -1: none was
	// the connection to Redis over which its heartbeats are answered; 0: none has been
	connection uint64
}

// serve answers commands until one of the two has enough.
func (s *session) serve(ctx context.Context) error {
	s.replicas = -1
	s.known = s.password.Value().IsZero() // then whoever gets here may ask
	for first := true; ; first = false {
		// What was answered is sent once nothing more has come with it, as gates send several
		// commands at once.
		if s.r.Buffered() == 0 {
			if err := s.flush(); err != nil {
				return err
			}
			if err := s.deadline(first); err != nil {
				return err
			}
		}
		words, err := readCommand(s.r)
		if err == nil {
			// Many short answers may fill the buffer.
			err = s.conn.SetWriteDeadline(time.Now().Add(writeWithin))
		}
		if err == nil {
			err = s.answer(ctx, words)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, errCommand):
			s.refused.WithLabelValues(refusedCommand).Inc()
			s.w.WriteString("-ERR a relay answers a gate's commands alone\r\n")
		}
		return errors.Join(err, s.flush())
	}
}

// deadline bounds how long the next command may take to come. Until somebody is known, and has said
// anything, that runs from his first moment, a TLS handshake included, both ways.
func (s *session) deadline(first bool) error {
	if first || !s.known {
		return s.conn.SetDeadline(s.began.Add(greetWithin))
	}
	return s.conn.SetReadDeadline(time.Now().Add(idleWithin))
}

func (s *session) flush() error {
	if s.w.Buffered() == 0 {
		return nil
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return err
	}
	return s.w.Flush()
}

// answer answers one command, or a MULTI up to its EXEC.
func (s *session) answer(ctx context.Context, words []string) error {
	replicas := s.replicas
	s.replicas = -1
	name := strings.ToUpper(words[0])
	// Where there is no password, with the first command: what it took to send that, such as a
	// certificate, is behind it.
	if s.known {
		if err := s.admit(); err != nil {
			return err
		}
	}
	switch {
	case name == "HELLO" || name == "AUTH":
		return s.greet(name, words[1:])
	case !s.known:
		s.w.WriteString("-NOAUTH Authentication required.\r\n")
		return nil
	case name == "PING" && len(words) == 1:
		s.w.WriteString("+PONG\r\n")
		return nil
	case name == "GETRANGE":
		return s.getRange(words)
	case name == "SET":
		return s.set(words)
	case name == "MULTI" && len(words) == 1:
		return s.heartbeat(ctx)
	case name == "WAIT" && len(words) == 3 && replicas >= 0:
		s.w.WriteString(":" + strconv.Itoa(replicas) + "\r\n")
		return nil
	case name == "XREAD":
		return s.tail(ctx, words)
	case name == "XRANGE":
		return s.page(ctx, words)
	}
	return errCommand
}

// admit gives whoever is known a gate's place, for good. In the words of Redis, if there is none.
func (s *session) admit() error {
	err := s.places.Admit(s.place)
	if errors.Is(err, listen.ErrNoPlace) {
		s.noPlace(refusedGates, s.conn)
		s.w.WriteString("-ERR max number of clients reached\r\n")
	}
	return err
}

// greet takes HELLO 2, with or without AUTH, and AUTH.
func (s *session) greet(name string, words []string) error {
	user, password, said := "", "", false
	switch {
	case name == "AUTH" && len(words) == 2:
		user, password, said = words[0], words[1], true
	case name == "AUTH" && len(words) == 1:
		user, password, said = "default", words[0], true
	case name == "HELLO" && len(words) >= 1 && words[0] != "2":
		s.w.WriteString("-NOPROTO a relay speaks protocol version 2\r\n")
		return nil
	case name == "HELLO" && len(words) == 4 && strings.EqualFold(words[1], "AUTH"):
		user, password, said = words[2], words[3], true
	case name == "HELLO" && len(words) == 1:
	default:
		return errCommand
	}
	expected := s.password.Value()
	switch {
	case said && !s.isGate(user, password, expected):
		s.refused.WithLabelValues(refusedPassword).Inc()
		s.w.WriteString("-WRONGPASS invalid username-password pair or user is disabled.\r\n")
		// A gate's client says it twice, and its gate wants to know why it was refused.
		if s.wrong++; s.wrong == 3 {
			return errRefused
		}
		return nil
	case said:
		if err := s.admit(); err != nil {
			return err
		}
		s.known = true
	case !s.known:
		s.w.WriteString("-NOAUTH HELLO must be called with the client already authenticated.\r\n")
		return nil
	}
	if name == "AUTH" {
		s.w.WriteString("+OK\r\n")
		return nil
	}
	s.w.WriteString("*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n" +
		"$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:1\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n" +
		"$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n")
	return nil
}

// isGate compares in a time that does not depend on what was said.
func (s *session) isGate(user, password string, expected config.Secret) bool {
	same := func(a, b string) int {
		x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
		return subtle.ConstantTimeCompare(x[:], y[:])
	}
	return same(user, s.username)&same(password, expected.Reveal()) == 1 && !expected.IsZero()
}

// lineOf returns the number of a gate's line; 0 if this user has none of this name.
func (s *session) lineOf(key string) int {
	text, ok := strings.CutPrefix(key, s.names.Lines)
	n, err := number(text, uint64(s.maxGates))
	if !ok || err != nil {
		return 0
	}
	return int(n)
}

// noPermission is what Redis answers of keys that a gate's user may not touch; a gate goes on.
const noPermission = "-NOPERM this user has no permissions to access one of the keys used\r\n"

func (s *session) getRange(words []string) error {
	n, err := s.rangeOf(words)
	switch {
	case err != nil:
		return err
	case n == 0:
		s.w.WriteString(noPermission)
	default:
		s.w.Write(redislog.AppendBulk(nil, s.log.Line(n)))
	}
	return nil
}

// rangeOf returns the number of the line that GETRANGE asks for.
func (s *session) rangeOf(words []string) (int, error) {
	if len(words) != 4 || words[2] != "0" || words[3] != strconv.Itoa(s.names.MaxLine-1) {
		return 0, errCommand
	}
	return s.lineOf(words[1]), nil
}

func (s *session) set(words []string) error {
	n, free, err := s.lineIn(words)
	switch {
	case err != nil:
		return err
	case n == 0:
		s.w.WriteString(noPermission)
	case s.log.SetLine(n, words[2], free):
		s.w.WriteString("+OK\r\n")
	default:
		s.w.WriteString("$-1\r\n")
	}
	return nil
}

// lineIn returns the number of the line that SET writes, and whether only if there is none: SET key
// line [NX] PX life.
func (s *session) lineIn(words []string) (n int, free bool, err error) {
	if len(words) == 6 && words[3] == "NX" {
		free = true
		words = slices.Delete(slices.Clone(words), 3, 4)
	}
	life := strconv.FormatInt(s.names.LineLife.Milliseconds(), 10)
	if len(words) != 5 || words[0] != "SET" || words[3] != "PX" || words[4] != life ||
		words[2] == "" || len(words[2]) > s.names.MaxLine {
		return 0, false, errCommand
	}
	return s.lineOf(words[1]), free, nil
}

// heartbeat takes what comes between MULTI and EXEC, which is a gate's heartbeat and nothing else,
// and has the relay's next heartbeat answer it.
func (s *session) heartbeat(ctx context.Context) error {
	s.w.WriteString("+OK\r\n")
	var commands [6][]string
	for k := range commands {
		var err error
		if s.r.Buffered() == 0 {
			if err := s.flush(); err != nil {
				return err
			}
		}
		if commands[k], err = readCommand(s.r); err != nil {
			return err
		}
		if k < 5 {
			s.w.WriteString("+QUEUED\r\n")
		}
	}
	line, seq, err := s.readHeartbeat(&commands)
	if err != nil {
		return err
	}
	before := s.log.Line(line)
	// First: from here on logouts that wait for all gates wait for this one, which may be fresh as
	// soon as it is answered.
	if !s.log.SetLine(line, commands[1][2], false) {
		return errCommand
	}
	bounded, cancel := context.WithTimeout(ctx, s.settle)
	defer cancel()
	beat, err := s.log.Beat(bounded, seq)
	if err != nil {
		s.w.WriteString("-TRYAGAIN the relay has no answer of Redis\r\n")
		return errors.Join(errRefused, err)
	}
	if s.connection != 0 && s.connection != beat.Connection {
		return errMoved
	}
	s.connection, s.replicas = beat.Connection, beat.Replicas
	b := redislog.AppendBulk([]byte("*5\r\n"), before)
	b = append(b, "+OK\r\n"...)
	for _, v := range []any{beat.Head, beat.Time, beat.Entry} {
		if b, err = appendValue(b, v); err != nil {
			return err
		}
	}
	s.w.Write(b)
	return nil
}

// readHeartbeat reads the commands of a heartbeat: which line it writes, and which place it asks
// about.
func (s *session) readHeartbeat(c *[6][]string) (line int, seq uint64, err error) {
	for _, words := range c {
		words[0] = strings.ToUpper(words[0])
	}
	if c[0][0] != "GETRANGE" || c[1][0] != "SET" {
		return 0, 0, errCommand
	}
	asked, err := s.rangeOf(c[0])
	if err != nil {
		return 0, 0, err
	}
	line, free, err := s.lineIn(c[1])
	if err != nil || free || line == 0 || line != asked {
		return 0, 0, errCommand
	}
	head := append([]string{"HMGET", s.names.Head}, s.names.HeadFields...)
	if !slices.Equal(c[2], head) || !slices.Equal(c[3], []string{"TIME"}) ||
		!slices.Equal(c[5], []string{"EXEC"}) || len(c[4]) != 4 || c[4][0] != "XRANGE" ||
		c[4][1] != s.names.Log || c[4][2] != c[4][3] {
		return 0, 0, errCommand
	}
	seq, err = placeOf(c[4][2])
	return line, seq, err
}

// placeOf reads the id of an entry.
func placeOf(id string) (uint64, error) {
	text, ok := strings.CutSuffix(id, "-0")
	if !ok {
		return 0, errCommand
	}
	return number(text, 1<<53)
}

// tail answers XREAD COUNT count BLOCK ms STREAMS log id.
func (s *session) tail(ctx context.Context, words []string) error {
	if len(words) != 8 || words[1] != "COUNT" || words[3] != "BLOCK" || words[5] != "STREAMS" ||
		words[6] != s.names.Log {
		return errCommand
	}
	count, err1 := number(words[2], uint64(s.names.Page))
	block, err2 := number(words[4], uint64(longestWait.Milliseconds()))
	seq, err3 := placeOf(words[7])
	if err1 != nil || err2 != nil || err3 != nil || count == 0 || block == 0 {
		return errCommand
	}
	// What was asked for with it is not to wait for what may come.
	if err := s.flush(); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, time.Duration(block)*time.Millisecond)
	defer cancel()
	answer, err := s.log.Tail(bounded, seq, int(count))
	if answer == nil && err == nil {
		answer = []byte("*-1\r\n")
	}
	return s.passOn(answer, err)
}

// page answers XRANGE log id + COUNT count.
func (s *session) page(ctx context.Context, words []string) error {
	if len(words) != 6 || words[1] != s.names.Log || words[3] != "+" || words[4] != "COUNT" {
		return errCommand
	}
	from, err1 := placeOf(words[2])
	count, err2 := number(words[5], uint64(s.names.Page))
	if err1 != nil || err2 != nil || count == 0 {
		return errCommand
	}
	bounded, cancel := context.WithTimeout(ctx, s.settle)
	defer cancel()
	return s.passOn(s.log.Page(bounded, from, int(count)))
}

func (s *session) passOn(answer []byte, err error) error {
	if err != nil {
		s.w.WriteString("-TRYAGAIN the relay has no answer of Redis\r\n")
		return errors.Join(errRefused, err)
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return err
	}
	_, err = s.w.Write(answer)
	return err
}

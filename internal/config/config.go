// Package config fills a program's settings from a YAML file, the environment and flags. It knows
// no room's settings: each room declares a struct of its own, with its defaults, and Load fills it.
//
// It promises:
//   - A flag wins over the environment, the environment over the file, the file over the defaults.
//   - Nothing is ignored: an unknown key, a key given twice, a value of another type, a null, an
//     anchor, an alias, a tag or a second document is refused, as is a file of more than 1 MiB or
//     nested deeper than 32 levels.
//   - All problems are reported at once, each with its file:line:column (or the variable or flag
//     it came from) and with what to write instead. What Validate methods find is reported the
//     same way.
//   - A secret is never a flag, is never printed, and is in no error.
//
// # Settings
//
// A setting is an exported field with a yaml tag: `yaml:"listen"`. Structs nest, and
// `yaml:",inline"` puts a struct's settings beside those of the outer one. The tags `usage:"..."`,
// `flag:"-"` and `file:"-"` give a flag's help, keep a setting (or all settings of a struct) from
// being a flag, and keep a Secret from being given as a file. Types: string, bool, integers,
// floats, time.Duration ("10s"), Path, Secret, whatever implements encoding.TextUnmarshaler, lists
// of these (a single value counts as a list of one), pointers, lists of structs, and maps with
// string keys. Lists of structs and maps can only be given in the file.
//
// In the environment, redis.address is PREFIX_REDIS_ADDRESS; a list is separated by commas. A
// variable that is set counts, even when it is empty. A variable whose name is a slip or two away
// from a setting's is refused; others that begin with PREFIX are left alone.
package config

import (
	"fmt"
	"reflect"

	"github.com/spf13/pflag"
)

// MaxSize is the size in bytes that a configuration file may have unless Options says otherwise.
const MaxSize = 1 << 20

// Options says where settings come from. The zero value reads nothing and leaves the defaults.
type Options struct {
	File string // path of the YAML file; "" for none
	// what is in File, for whoever has read it already; nil: Load reads it
	Content []byte
	// as in "SALLYPORT": redis.address is then SALLYPORT_REDIS_ADDRESS; "" for no environment
	EnvPrefix string
	LookupEnv func(string) (string, bool) // nil for os.LookupEnv
	// all variables, "NAME=value", to find misspelt ones; nil for os.Environ, or for none when
	// LookupEnv is set
	Environ func() []string
	// flags as BindFlags declares them; only those the user set count
	Flags   *pflag.FlagSet
	MaxSize int64 // the file's greatest size in bytes; 0 for MaxSize
	// told of each setting that is given by a former name (see Renamer); nil for nobody
	Warn func(*Problem)
	// WithoutSecrets reads no file of a secret, and has something in its place that is of no use: for
	// whoever reasons about a configuration where its secrets are not
	WithoutSecrets bool
	// Lines, unless it is nil, is told the line of the file in which each setting is given, by its
	// path, as tests[3].
	Lines map[string]int
}

// Defaulter is implemented by structs that stand in lists and maps and have defaults: SetDefaults
// is called, on a pointer, on every new element before it is filled from the file.
type Defaulter interface{ SetDefaults() }

// Validator is implemented by values that have rules of their own. Load calls Validate once
// everything is filled, the inner values' before the outer's, and reports whatever they find. See
// At for errors that name a setting. A struct whose settings stand inline among those of a
// Validator is not asked: the Validator answers for them all, in its own words.
type Validator interface{ Validate() error }

// Preparer is told of before the values in it are validated: what these would do one after the other
// it may do at once.
type Preparer interface{ Prepare() }

// Load fills dst, a pointer to a struct that already holds the defaults, and validates it. When it
// returns an error, dst is partly filled and must not be used. The error holds one *Problem for
// each thing that is wrong; they can be had with Problems.
func Load(dst any, o Options) error {
	v, err := target(dst)
	if err != nil {
		return err
	}
	l := newLoader(o)
	all, err := settingsOf(v)
	if err == nil {
		err = l.name(all)
	}
	if err != nil {
		return err
	}
	// In this order, since each overwrites what those before it have set.
	read := l.readFile(v, o)
	l.readEnv(v, all)
	l.readFlags(v, all, o.Flags)
	if read { // else every setting of the file would be reported as missing
		l.validate(v)
	}
	if o.Lines != nil {
		for path, at := range l.origins {
			o.Lines[path] = at.line
		}
	}
	return l.err()
}

func target(dst any) (reflect.Value, error) {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}, fmt.Errorf("config: expected a pointer to a struct, got %T", dst)
	}
	return v.Elem(), nil
}

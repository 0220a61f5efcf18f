package keyset

import (
	"errors"
	"fmt"

	"github.com/sallyport/sallyport/internal/config"
	"github.com/sallyport/sallyport/internal/token"
)

// CheckNames returns an error for each entry that could match a token which an earlier one matches
// too: which of them judged it would be a matter of chance.
func CheckNames(cfgs []Config) error {
	var errs []error
	for n := range cfgs {
		for earlier := range n {
			if !token.MayShare(&cfgs[n].Profile, &cfgs[earlier].Profile) {
				continue
			}
			at := fmt.Sprintf("issuers[%d].issuer", n)
			if cfgs[n].Issuer == cfgs[earlier].Issuer {
				errs = append(errs, config.At(at, "expected each issuer once, got %q twice",
					cfgs[n].Issuer))
			} else {
				errs = append(errs, config.At(at, "expected issuers that no other entry stands for: an iss"+
					" may fall under this one and under issuers[%d] (%s); leave the tenant out of one of them",
					earlier, cfgs[earlier].Issuer))
			}
			break
		}
	}
	return errors.Join(errs...)
}

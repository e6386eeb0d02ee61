package daemon

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"bailiff/pkg/config"
	"bailiff/pkg/remote"
)

// metricsByToken answers /metrics of the page: for nobody, for everybody, or for who sends the token of
// a file. who says which; warn is told of a token that can't be read.
func metricsByToken(page http.Handler, who func() string, warn func(string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch may := who(); may {
		case "":
			http.Error(w, "metrics are not served here: [web] metrics says to whom they are", http.StatusNotFound)
		case config.WebOpen:
			page.ServeHTTP(w, r)
		default:
			token, err := remote.Token{File: may}.Read() // anew each time, so that another one holds at once
			if err != nil {
				warn("[web] metrics: " + err.Error())
				http.Error(w, "the token of [web] metrics can't be read: the log says why", http.StatusServiceUnavailable)
				return
			}
			sent, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			// Of the same length, whatever was sent.
			a, b := sha256.Sum256([]byte(sent)), sha256.Sum256([]byte(token))
			if !bearer || subtle.ConstantTimeCompare(a[:], b[:]) != 1 {
				w.Header().Set("WWW-Authenticate", `Bearer realm="bailiff metrics"`)
				http.Error(w, "want the token of [web] metrics: Authorization: Bearer TOKEN", http.StatusUnauthorized)
				return
			}
			page.ServeHTTP(w, r)
		}
	})
}

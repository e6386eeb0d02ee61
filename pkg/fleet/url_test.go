package fleet

import "testing"

func TestCheckURL(t *testing.T) {
	for text, ok := range map[string]bool{
		"tls://hub.example:4222": true, "tls://[2001:db8::1]:4222": true, "nats://127.0.0.1:4222": true, "nats://[::1]:4222": true,
		"nats://hub.example:4222": false, "nats://192.0.2.1:4222": false, "nats://localhost:4222": false, "tls://hub.example": false, "tls://:4222": false, "hub.example:4222": false,
		"tls://u:p@hub.example:4222": false, "tls://hub.example:4222/x": false, "tls://hub.example:4222?x": false, "tls://hub.example:4222#x": false, "http://hub.example:4222": false,
		"": false, "tls://hub\x00:4222": false,
	} {
		if err := CheckURL(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

# make help    this list, the first line of each
# make build   two static binaries, bin/bailiff and bin/bailiff-hub
#              with the links that make bailiff fail2ban's programs; bailiff-hub is the same with the hub of a fleet
# make demo    the whole way on this machine: Django, nginx, an attacker, a ban
#              (Debian, root); with DEMO=-fail2ban from a configuration of fail2ban's;
#              with DEMO=-fleet a hub, three hosts, an attacker: refused on all, let in on all
# make test    every test
#              (Debian, root: they use network namespaces and the real fail2ban)
# make check   go vet, staticcheck, gofumpt
# make fuzz    100,000 random patterns against Python, then each fuzz target
#              for FUZZTIME (1m)
# make conformance  fail2ban's filters on its sample logs, there and here, line by line
#              LIB=… CONFIG=… LOGS=… for another fail2ban than Debian's
# make bench   bailiff and fail2ban side by side, and all promises
#              writes bench/README.md and the line of this release in bench/history.csv (two hours, in which the
#              machine should be idle)
# make promises  what the documents promise of time and memory
#              against references of the same run (Debian, root; 5 minutes)
# make soak    the long tests: rotation, kills, a million bans, random histories
#              and reloads under load, every configuration file with a slip in each line, hostile input in 200 MB
# make vm      in virtual machines: clocks, power cuts, services and migrate by real systemd
#              on Debian 12 and 13 (Debian, root; half an hour); with CONTAINER=1 on this machine's kernel, without
#              clocks and power cuts (10 minutes)
# make page    every way through the page in a real browser, and 50 attacks
#              takes pictures of it, into tmp/page/shots (Debian, root; 5 minutes)
# make zoo     the stock filters on real services, attacked for real
#              of Debian 12 and 13 (Debian, root; ZOO="sshd dovecot" for some, KEEP=1 writes what was heard into
#              filters/*.toml)
# make prometheus  Debian's Prometheus scrapes a daemon, and its alerts are tested
#              one fires when a log is taken away (Debian, root; installs prometheus, a minute)
# make man     the manual pages, into bin/man
# make image   an image for podman and docker: bin/bailiff-image.tar
#              neither is needed for it
# make dist    packages, tarballs and images of containers, into bin/dist
#              deb, rpm, apk, Arch; for amd64 and arm64
# make dist-check  builds them twice, compares, and installs them in fresh systems
#              of Debian 12 and 13, the others by rpm and pacman; signs a copy; runs what is for arm64 under qemu
#              (10 minutes)
# make release-check  the whole look at a release
#              dist-check, check, licences, known vulnerabilities
# make third-party  THIRD_PARTY: the licences of what is linked in
# make sign    signs bin/dist/SHA256SUMS with KEY=…, apart
# make toolchain  a Go, where there is none
# make packages  the Debian packages that tests need (Debian, root)
# make references  the real fail2ban 1.1.0 and 1.1.1, for tests to ask

# Where there is no Go, or one before 1.21: what scripts/toolchain installs, which fetches
# the one that go.mod names.
ifeq ($(shell GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | grep -E '^go1\.(2[1-9]|[3-9][0-9])'),)
export PATH := /usr/lib/go-1.24/bin:/usr/lib/go-1.23/bin:$(PATH)
export GOTOOLCHAIN := auto
endif

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
export CGO_ENABLED := 0
# What is compiled is the same in every checkout, so that they share one cache. The profile (default.pgo) is for what is
# shipped: with it, whatever cmd/bailiff imports is compiled once more, which for a check or a test takes minutes.
export GOFLAGS := -trimpath -pgo=off $(GOFLAGS)
PGO := auto
# A run of a few minutes, never a day: on two slow cores the longest package takes twenty.
TIMEOUT ?= 40m
FUZZTIME ?= 1m

.PHONY: help toolchain references build demo test conformance bench promises soak prometheus vm page zoo man dist image dist-check third-party release-check sign check fuzz packages

toolchain:
	@scripts/toolchain

help:
	@sed -n 's/^# make \([a-z-]*\)  */\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r target text; do \
		printf 'make %-14s %s\n' "$$target" "$$text"; \
	done

build: toolchain
	go build -pgo=$(PGO) -ldflags '-s -w -X bailiff/pkg/cli.Version=$(VERSION)' -o bin/bailiff ./cmd/bailiff
	go build -pgo=$(PGO) -tags hub -ldflags '-s -w -X bailiff/pkg/cli.Version=$(VERSION)' -o bin/bailiff-hub ./cmd/bailiff
	@for name in fail2ban-server fail2ban-client fail2ban-regex; do ln -sf bailiff bin/$$name; done

# What tests need of Debian. Nothing is installed that is there already.
packages: toolchain
	@scripts/packages nginx gunicorn python3-django python3-django-axes python3-django-otp nftables iproute2 curl fail2ban 'libpython3.*-testsuite' gcc libc6-dev util-linux bsdutils systemd systemd-journal-remote python3-systemd debootstrap iptables ipset firewalld ufw apache2-bin caddy haproxy openssl groff-base tmux

# The real fail2ban 1.1.0 and 1.1.1, for tests to ask.
references: toolchain
	@scripts/fail2bans tmp/fail2bans >/dev/null

demo: build
	@scripts/packages nftables iproute2 $(if $(filter -fleet,$(DEMO)),,nginx gunicorn python3-django python3-django-axes python3-django-otp) $(if $(filter -fail2ban,$(DEMO)),fail2ban)
	go run ./examples/$(if $(filter -fleet,$(DEMO)),fleet,django)/demo $(DEMO)

# What takes longest begins first.
LONGEST := ./cmd/bailiff ./test/fail2ban ./pkg/jail ./pkg/source ./pkg/config
# Where goroutines meet: tested with the race detector, which needs cgo and gcc. RACED is tested with every change,
# RACED_MORE, where few meet, by make soak.
RACED := ./pkg/source ./pkg/jail ./pkg/resolve ./pkg/action ./pkg/ban ./pkg/firewall ./pkg/store ./pkg/control ./pkg/eventlog \
	./pkg/daemon ./pkg/guard ./pkg/syslog ./pkg/runner ./pkg/opener ./pkg/events ./pkg/replay ./pkg/engine ./pkg/web ./pkg/fleet ./pkg/fleet/link
RACED_MORE := ./pkg/clock ./pkg/filter ./pkg/config ./pkg/cli ./pkg/confine ./pkg/banfile ./pkg/check ./pkg/top ./pkg/remote ./pkg/report ./pkg/haproxy ./pkg/hub
# And the whole program, with the tests in which most of it is at work at once.
RACED_WHOLE := TestReloadUnderLoad|TestServerSettings|TestListsAtReload|TestRestartJail|TestFlushedUnderCommands|TestUnbanWithinUnban

# A test that fails is run once more, alone, and named at the end (=== Failed), whatever comes of it: the tests
# have a whole machine's services beside them, and what failed there once is to be looked into. A
# data race or a panic fails at once, and so do more than six (a subtest is one, too).
TEST := go tool -modfile=scripts/tools.mod gotestsum --format standard-quiet --rerun-fails=1 --rerun-fails-max-failures=6 \
	--rerun-fails-run-root-test --rerun-fails-abort-on-data-race --packages

# What is only tested is built as the tests are, which saves minutes on a new machine.
test: PGO := off
test: build packages references
	bin/bailiff filter test
	bin/bailiff filter lint
	$(TEST) '$(LONGEST) ./...' -- -timeout $(TIMEOUT) -p 2 -parallel 6 # tests wait more than they compute
	CGO_ENABLED=1 $(TEST) '$(RACED)' -- -race -short -timeout $(TIMEOUT) -p 3
	CGO_ENABLED=1 $(TEST) ./cmd/bailiff -- -race -timeout $(TIMEOUT) -run '$(RACED_WHOLE)'
	$(TEST) ./cmd/bailiff -- -tags hub -timeout $(TIMEOUT) -run 'TestHubScripts|TestFleet'
	go run ./zoo -quick

# Each part is measured though another one failed, and what was measured goes into the history.
bench: build packages references
	@scripts/packages ripgrep wrk
	rm -f bin/figures
	@failed=; for part in read daemon around regexps replay promises proxies forwarded fleet "daemon --only hour"; do \
		echo "go run ./bench/$$part"; \
		BENCH_FIGURES=$(CURDIR)/bin/figures go run ./bench/$$part --write bench/README.md || failed="$$failed $$part"; \
	done; \
	go run ./bench/history -version $(RELEASE) -figures bin/figures || failed="$$failed history"; \
	if [ -n "$$failed" ]; then echo "bench: failed, or a promise wasn't kept:$$failed"; exit 1; fi

promises: build packages
	go run ./bench/promises --quick $(PROMISES)

soak: packages references
	CGO_ENABLED=1 go test -race -short -timeout 60m $(RACED_MORE)
	go test -timeout 60m -count 1 ./pkg/source -run TestRotations -v -rotations 500
	CGO_ENABLED=1 go test -race -timeout 60m -count 1 ./pkg/source -run TestRotations -v -rotations 100
	go test -timeout 60m -count 1 ./cmd/bailiff -run 'TestCrash|TestScale' -v -kills 500 -bans 1000000
	go test -timeout 90m -count 1 ./cmd/bailiff -run TestStartRace -v -races 1000 # every other one with a pause (SIGSTOP)
	go test -timeout 90m -count 1 ./pkg/jail -run TestHistories -v -histories 10000
	go test -timeout 60m -count 1 ./cmd/bailiff -run TestPlays -v -plays.all
	go test -timeout 60m -count 1 ./cmd/bailiff -run TestBlockedWorld -v -blocked.pairs all
	go test -timeout 60m -count 1 ./cmd/bailiff -run 'TestMigrate$$' -v -migrations all # from each real fail2ban and back, 2,000 bans
	go test -timeout 60m -count 1 ./cmd/bailiff -run TestBounded -v -bounded.time 60s
	go test -timeout 60m -count 1 ./cmd/bailiff -run TestReloadUnderLoad -v -reloads 1000
	go test -timeout 60m -count 1 ./cmd/bailiff -run TestSyslogFlood -v -flood
	go test -timeout 60m -count 1 ./pkg/hub -run 'TestCluster|TestCutOff' -v -cluster
	go test -timeout 60m -count 1 -tags hub ./cmd/bailiff -run TestFleetKilled -v -fleet.kills 200
	scripts/nats-server v2.15.2 tmp/nats-server-2.15 # through the Go proxy
	scripts/nats-server v2.10.29 tmp/nats-server-2.10
	go test -timeout 60m -count 1 ./pkg/hub -run 'TestExternal|TestCapturedHost|TestOldServer' -v -nats-server $(CURDIR)/tmp/nats-server-2.15 -old-nats-server $(CURDIR)/tmp/nats-server-2.10
	MUTATIONS=all go test -timeout 120m -count 1 ./pkg/config -run TestMutations -v
	MUTATED=1 go test -timeout 120m -count 1 ./cmd/bailiff -run TestMutated -v

prometheus: packages
	@scripts/packages prometheus
	go test -timeout 10m -count 1 ./cmd/bailiff -run 'TestPrometheus$$' -v -prometheus

vm: export CONTAINER := $(CONTAINER)
vm: build
	@scripts/packages debootstrap qemu-system-x86 e2fsprogs
	rm -rf bin/vm
	ARCHES=amd64 FORMATS=deb scripts/dist 0.8.9 bin/vm/old >/dev/null
	ARCHES=amd64 FORMATS=deb scripts/dist $(RELEASE) bin/vm/new >/dev/null
	$(if $(CONTAINER),,scripts/vm/run clock bookworm bin/bailiff)
	scripts/vm/run migrate bookworm bin/bailiff
	scripts/vm/run migrate trixie bin/bailiff
	scripts/vm/run service bookworm bin/vm/old bin/vm/new
	scripts/vm/run service trixie bin/vm/old bin/vm/new

page: toolchain
	scripts/page tmp/page >/dev/null
	go test ./test/page -run TestPage -count 1 -timeout 40m -v -page $(CURDIR)/tmp/page

man: toolchain
	go run -tags hub -ldflags '-X bailiff/pkg/cli.Version=$(VERSION)' ./docs/man bin/man

RELEASE ?= 0.9.0

dist: toolchain
	scripts/dist $(RELEASE) bin/dist

image: toolchain
	go run ./scripts/image $(RELEASE) bin/bailiff-image.tar

dist-check: toolchain
	@scripts/packages debootstrap rpm pacman-package-manager qemu-user-static gnupg gpgv
	rm -rf bin/dist bin/dist-old bin/dist-again
	scripts/dist $(RELEASE) bin/dist
	scripts/dist 0.8.9 bin/dist-old
	rm -rf tmp/again && mkdir -p tmp && git clone -q . tmp/again
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) tmp/again/scripts/dist $(RELEASE) bin/dist-again
	cmp bin/dist/SHA256SUMS bin/dist-again/SHA256SUMS
	scripts/try-packages bin/dist-old bin/dist
	scripts/try-foreign bin/dist-old bin/dist
	scripts/try-signatures bin/dist

third-party: toolchain
	go run ./scripts/thirdparty THIRD_PARTY

release-check: toolchain
	@scripts/release-check $(RELEASE)

sign:
	scripts/sign bin/dist '$(KEY)'

zoo: build packages references
	scripts/gitea tmp/gitea
	go run ./zoo $(if $(KEEP),-keep) -write bench/zoo.md $(ZOO)
	scripts/caddy tmp/caddy && go test ./cmd/bailiff -run TestBehindProxy -count 1 -caddy $(CURDIR)/tmp/caddy
	@scripts/packages podman runc conmon busybox-static netavark aardvark-dns podman-compose
	go test ./cmd/bailiff -run 'TestPodman|TestImage|TestContainerfile' -count 1 -podman
	go test ./cmd/bailiff -run TestRealSenders -count 1 -syslogs "$$(scripts/syslogs tmp/syslogs)"

conformance:
	@LIB="$(LIB)" CONFIG="$(CONFIG)" LOGS="$(LOGS)" scripts/conformance

check: toolchain
	go vet ./...
	go vet -tags hub ./pkg/cli ./cmd/bailiff
	go tool staticcheck ./...
	go tool staticcheck -tags hub ./pkg/cli
	@out=$$(go tool gofumpt -l cmd pkg test scripts docs filters jails examples bench zoo); \
	if [ -n "$$out" ]; then echo "gofumpt would change:"; echo "$$out"; exit 1; fi

fuzz: toolchain packages
	go test ./pkg/pyregexp -run 'TestRandom|TestLadder' -v -random.cases 100000 -random.seed 0 -timeout 60m
	go test ./pkg/logtime -run TestOracle -v -oracle.seed 0
	@set -e; for target in $$(grep -rho --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' pkg | sed 's/func //' | sort -u); do \
		for dir in $$(grep -rl --include='*_test.go' "^func $$target(" pkg | xargs -n1 dirname); do \
			echo "$$dir $$target"; \
			go test ./$$dir -run xxx -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x; \
		done; \
	done

package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"sync"
)

// Requests are pickles, and a pickle is a program. Of its instructions (protocols 0
// to 5) this reader knows those that make text, numbers, booleans, None, lists and
// tuples, and carries them out while they come in: a request that is no data, too
// deep, too large, or that lies about a length is refused at that byte, and what it
// took until then is proportional to what was sent. There is no second look at the
// bytes by somebody else, who could read them otherwise.

// limits of one request.
type limits struct {
	bytes int // as sent, and of its texts written out
	items int // words, lists, marks and notes
}

var (
	readerLimits = limits{bytes: 1 << 20, items: 10_000}
	ownerLimits  = limits{bytes: 8 << 20, items: 200_000} // a reload of fail2ban-client brings all jails at once
)

func (l *limits) tooLong() error {
	return fmt.Errorf("it is longer than %d bytes", l.bytes)
}

func (l *limits) tooMany() error {
	return fmt.Errorf("it has more than %d items", l.items)
}

const (
	maxDepth  = 8
	maxDigits = 64 // of a number written in digits; also what a float takes
	maxLong   = 32 // bytes of a binary integer
)

var (
	errNoList   = errors.New("it is no list")
	errEmpty    = errors.New("it is empty")
	errStack    = errors.New("it is no pickle: an instruction has nothing to work on")
	errKey      = errors.New("it is no pickle of data: a list stands where a dict has a key")
	errCut      = errors.New("it ends too early")
	errFrame    = errors.New("a frame in it lies about its length")
	errLength   = errors.New("a text in it lies about its length")
	errNumber   = errors.New("a number in it is none, or longer than any that is of use")
	errNote     = errors.New("it refers to something that is not there")
	errText     = errors.New("a text in it is badly written")
	errProtocol = errors.New("its pickle protocol is unknown")
)

// Values that need no memory of their own.
var (
	none   = &Word{kind: aNone, text: "None"}
	truth  = &Word{kind: aBool, text: "True"}
	untrue = &Word{kind: aBool, text: "False"}
	unit   = &Word{kind: aTuple}
	small  = sync.OnceValue(func() []*Word {
		words := make([]*Word, 256)
		for i := range words {
			words[i] = &Word{kind: anInt, text: strconv.Itoa(i)}
		}
		return words
	})
)

// unpickler carries out one pickle.
type unpickler struct {
	in       io.ByteReader
	limits   *limits
	read     int // bytes
	items    int
	frameEnd int // position at which a frame ends; 0: none
	stack    []*Word
	marks    []int
	memo     map[uint32]*Word
	scratch  [maxDigits + 1]byte
}

// readPickle reads one request's words. in ends with io.EOF where the request does.
func readPickle(in io.ByteReader, l *limits) ([]*Word, error) {
	u := &unpickler{in: in, limits: l}
	for {
		op, err := u.byte()
		if err != nil {
			return nil, err
		}
		if op == '.' {
			break
		}
		if err := u.step(op); err != nil {
			return nil, err
		}
	}
	if u.read < u.frameEnd {
		return nil, errFrame
	}
	if len(u.stack) != 1 || len(u.marks) != 0 {
		return nil, errStack
	}
	top := u.stack[0]
	switch {
	case !top.IsList() || top.IsDict():
		return nil, errNoList
	case len(top.items) == 0:
		return nil, errEmpty
	}
	var items, bytes int
	if err := top.weigh(0, l, &items, &bytes); err != nil {
		return nil, err
	}
	return top.items, nil
}

// byte is the next byte.
func (u *unpickler) byte() (byte, error) {
	if u.read >= u.limits.bytes {
		return 0, u.limits.tooLong()
	}
	b, err := u.in.ReadByte()
	if err == io.EOF {
		return 0, errCut
	}
	u.read++
	return b, err
}

// number reads n bytes, lowest first.
func (u *unpickler) number(n int) (uint64, error) {
	var v uint64
	for i := range n {
		b, err := u.byte()
		if err != nil {
			return 0, err
		}
		v |= uint64(b) << (8 * i)
	}
	return v, nil
}

// bytes reads so many. No more memory is taken than what has come allows for.
func (u *unpickler) bytes(n uint64) ([]byte, error) {
	if n > uint64(u.limits.bytes-u.read) {
		return nil, u.limits.tooLong()
	}
	out := make([]byte, 0, min(n, 512))
	for range n {
		b, err := u.byte()
		if err != nil {
			if err == errCut {
				err = errLength
			}
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

// line reads up to the end of a line, of at most so many bytes.
func (u *unpickler) line(most int, tooLong error) ([]byte, error) {
	out := u.scratch[:0]
	for {
		b, err := u.byte()
		if err != nil {
			return nil, err
		}
		if b == '\n' {
			return out, nil
		}
		if len(out) >= most {
			return nil, tooLong
		}
		out = append(out, b)
	}
}

// count counts something that takes memory.
func (u *unpickler) count() error {
	if u.items++; u.items > u.limits.items {
		return u.limits.tooMany()
	}
	return nil
}

func (u *unpickler) push(w *Word) error {
	u.stack = append(u.stack, w)
	return u.count()
}

func (u *unpickler) pushText(s string) error { return u.push(&Word{kind: aText, text: s}) }

// least is how much of the stack belongs to what is outside of the last mark.
func (u *unpickler) least() int {
	if n := len(u.marks); n > 0 {
		return u.marks[n-1]
	}
	return 0
}

// toMark takes what stands above the last mark off the stack. What it returns is
// overwritten by what comes next.
func (u *unpickler) toMark() ([]*Word, error) {
	n := len(u.marks)
	if n == 0 {
		return nil, errStack
	}
	at := u.marks[n-1]
	u.marks = u.marks[:n-1]
	items := u.stack[at:]
	u.stack = u.stack[:at]
	return items, nil
}

func (u *unpickler) pop(n int) ([]*Word, error) {
	at := len(u.stack) - n
	if at < u.least() {
		return nil, errStack
	}
	items := u.stack[at:]
	u.stack = u.stack[:at]
	return items, nil
}

// container pushes a list or tuple of its own copy of items.
func (u *unpickler) container(k kind, items []*Word) error {
	return u.push(&Word{kind: k, items: append(make([]*Word, 0, len(items)), items...)})
}

// pairs says of what goes into a dict whether it is keys and values in turn.
func pairs(items []*Word) error {
	if len(items)%2 != 0 {
		return errStack
	}
	for i := 0; i < len(items); i += 2 {
		if items[i].IsList() {
			return errKey
		}
	}
	return nil
}

// last is the list, or dict, on top of the stack.
func (u *unpickler) last(k kind) (*Word, error) {
	n := len(u.stack)
	if n <= u.least() || u.stack[n-1].kind != k {
		return nil, errStack
	}
	return u.stack[n-1], nil
}

// step carries out one instruction.
func (u *unpickler) step(op byte) error {
	if u.frameEnd > 0 && u.read > u.frameEnd { // this instruction is the first behind it
		u.frameEnd = 0
	}
	err := u.carryOut(op)
	if err == nil && u.frameEnd > 0 && u.read > u.frameEnd {
		return errFrame // one that begins in a frame ends in it
	}
	return err
}

func (u *unpickler) carryOut(op byte) error {
	switch op {
	case 0x80: // PROTO
		v, err := u.byte()
		if err == nil && v > 5 {
			return errProtocol
		}
		return err
	case 0x95: // FRAME
		n, err := u.number(8)
		if err != nil {
			return err
		}
		if u.frameEnd > 0 && u.read-9 < u.frameEnd || n > uint64(u.limits.bytes-u.read) {
			return errFrame
		}
		u.frameEnd = u.read + int(n)
		return nil
	case '(': // MARK
		if len(u.marks) >= 2*maxDepth {
			return errTooDeep
		}
		u.marks = append(u.marks, len(u.stack))
		return u.count()
	case 'N':
		return u.push(none)
	case 0x88:
		return u.push(truth)
	case 0x89:
		return u.push(untrue)
	case 'I', 'L', 'J', 'K', 'M', 0x8a, 0x8b:
		return u.integer(op)
	case 'F':
		text, err := u.line(maxDigits, errNumber)
		if err != nil {
			return err
		}
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil {
			return errNumber
		}
		return u.push(&Word{kind: aFloat, text: Repr(f)})
	case 'G':
		data, err := u.bytes(8)
		if err != nil {
			return err
		}
		return u.push(&Word{kind: aFloat, text: Repr(math.Float64frombits(binary.BigEndian.Uint64(data)))})
	case 'S', 'V':
		return u.lineText(op)
	case 'U', 'C', 0x8c: // SHORT_BINSTRING, SHORT_BINBYTES, SHORT_BINUNICODE
		return u.countedText(1, op == 0x8c)
	case 'T', 'B', 'X': // BINSTRING, BINBYTES, BINUNICODE
		return u.countedText(4, op == 'X')
	case 0x8d, 0x8e: // BINUNICODE8, BINBYTES8
		return u.countedText(8, op == 0x8d)
	case ']':
		return u.push(&Word{kind: aList})
	case ')':
		return u.push(unit)
	case '}':
		return u.push(&Word{kind: aDict})
	case 'l', 't', 'd': // LIST, TUPLE, DICT
		items, err := u.toMark()
		if err != nil {
			return err
		}
		switch {
		case op == 'l':
			return u.container(aList, items)
		case op == 'd':
			if err := pairs(items); err != nil {
				return err
			}
			return u.container(aDict, items)
		}
		return u.container(aTuple, items)
	case 0x85, 0x86, 0x87: // TUPLE1 to TUPLE3
		items, err := u.pop(int(op) - 0x84)
		if err != nil {
			return err
		}
		return u.container(aTuple, items)
	case 'a', 'e': // APPEND, APPENDS
		var items []*Word
		var err error
		if op == 'a' {
			items, err = u.pop(1)
		} else {
			items, err = u.toMark()
		}
		if err != nil {
			return err
		}
		list, err := u.last(aList)
		if err != nil {
			return err
		}
		list.items = append(list.items, items...)
		return nil
	case 's', 'u': // SETITEM, SETITEMS
		var items []*Word
		var err error
		if op == 's' {
			items, err = u.pop(2)
		} else {
			items, err = u.toMark()
		}
		if err == nil {
			err = pairs(items)
		}
		if err != nil {
			return err
		}
		dict, err := u.last(aDict)
		if err != nil {
			return err
		}
		dict.items = append(dict.items, items...)
		return nil
	case 'p', 'q', 'r', 0x94, 'g', 'h', 'j':
		return u.note(op)
	}
	return fmt.Errorf("it holds something that is no data (pickle instruction 0x%02x)", op)
}

// note keeps what is on top of the stack, or takes what was kept.
func (u *unpickler) note(op byte) error {
	var at uint64
	var err error
	switch op {
	case 'q', 'h':
		at, err = u.number(1)
	case 'r', 'j':
		at, err = u.number(4)
	case 0x94:
		at = uint64(len(u.memo))
	default: // in digits
		var text []byte
		if text, err = u.line(10, errNote); err == nil {
			if at, err = strconv.ParseUint(string(text), 10, 32); err != nil {
				return errNote
			}
		}
	}
	if err != nil {
		return err
	}
	switch op {
	case 'g', 'h', 'j':
		w := u.memo[uint32(at)]
		if w == nil {
			return errNote
		}
		return u.push(w)
	}
	if len(u.stack) <= u.least() {
		return errStack
	}
	if u.memo == nil {
		u.memo = map[uint32]*Word{}
	}
	u.memo[uint32(at)] = u.stack[len(u.stack)-1]
	return u.count()
}

// integer reads a number in one of seven forms.
func (u *unpickler) integer(op byte) error {
	switch op {
	case 'I', 'L':
		line, err := u.line(maxDigits, errNumber)
		if err != nil {
			return err
		}
		text := string(line)
		switch {
		case op == 'I' && text == "00":
			return u.push(untrue)
		case op == 'I' && text == "01":
			return u.push(truth)
		case op == 'L':
			text = strings.TrimSuffix(text, "L")
		}
		n, ok := new(big.Int).SetString(text, 10)
		if !ok || strings.Contains(text, "_") {
			return errNumber
		}
		return u.push(&Word{kind: anInt, text: n.String()})
	case 'K':
		n, err := u.number(1)
		if err != nil {
			return err
		}
		return u.push(small()[n])
	case 'M':
		n, err := u.number(2)
		if err != nil {
			return err
		}
		return u.push(&Word{kind: anInt, text: strconv.FormatUint(n, 10)})
	case 'J':
		n, err := u.number(4)
		if err != nil {
			return err
		}
		return u.push(&Word{kind: anInt, text: strconv.Itoa(int(int32(n)))})
	}
	size := 1
	if op == 0x8b {
		size = 4
	}
	n, err := u.number(size)
	if err != nil {
		return err
	}
	if n > maxLong {
		return errNumber
	}
	data, err := u.bytes(n)
	if err != nil {
		return err
	}
	// Two's complement, lowest byte first.
	var v big.Int
	negative := n > 0 && data[n-1]&0x80 != 0
	for i, j := 0, len(data)-1; i < j; i, j = i+1, j-1 {
		data[i], data[j] = data[j], data[i]
	}
	v.SetBytes(data)
	if negative {
		v.Sub(&v, new(big.Int).Lsh(big.NewInt(1), uint(8*n)))
	}
	return u.push(&Word{kind: anInt, text: v.String()})
}

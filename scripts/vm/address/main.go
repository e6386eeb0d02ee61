// Address prints where a function of a Go program is, also in one without symbols: the
// table that tracebacks are made of has them.
//
//	address BINARY FUNCTION
package main

import (
	"debug/elf"
	"debug/gosym"
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: address BINARY FUNCTION")
		os.Exit(2)
	}
	if err := address(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "address:", err)
		os.Exit(1)
	}
}

func address(binary, function string) error {
	f, err := elf.Open(binary)
	if err != nil {
		return err
	}
	defer f.Close()
	text, lines := f.Section(".text"), f.Section(".gopclntab")
	if text == nil || lines == nil {
		return fmt.Errorf("%s: no program of Go", binary)
	}
	data, err := lines.Data()
	if err != nil {
		return err
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		return err
	}
	if fn := table.LookupFunc(function); fn != nil {
		fmt.Printf("%#x\n", fn.Entry)
		return nil
	}
	return fmt.Errorf("%s: no function %s", binary, function)
}

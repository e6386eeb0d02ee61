// Package fail2ban has fail2ban's own test cases judge our programs. The cases come with
// Debian's package of fail2ban and are loaded when the test runs, as they are; shim.py lets
// them have to do with programs in place of Python's objects. The same with fail2ban's own
// programs (real.py) is the control: what fails there tells nothing of ours.
//
// The file differences names the cases that fail with ours, and why; docs/differences.md
// tells users of them.
package fail2ban

package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bailiff/pkg/config"
	"bailiff/pkg/control"
	"bailiff/pkg/web"
)

// The file of the page's users. It is changed without the daemon, which reads it at each login.

// webUsers says which file it is.
type webUsers struct{ config, file string }

func (u *webUsers) path() (string, error) {
	if u.file != "" {
		return u.file, nil
	}
	at := cmp.Or(u.config, config.DefaultDir)
	cfg, err := config.Load(config.Options{Path: at})
	if u.config == "" && errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("%w: name the daemon's configuration by --config, or the file of users by --file", err)
	}
	if err != nil {
		return "", err
	}
	if cfg.Web.Users != "" {
		return cfg.Web.Users, nil
	}
	if fi, err := os.Stat(at); err == nil && !fi.IsDir() {
		at = filepath.Dir(at)
	}
	return filepath.Join(at, "web-users"), nil
}

// change changes the file's users, and says what was done, and in which file.
func (u *webUsers) change(out io.Writer, did string, how func([]web.User) ([]web.User, error)) error {
	path, err := u.path()
	if err != nil {
		return err
	}
	if err := web.ChangeUsers(path, how); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s in %s\n", plainly(did), plainly(path))
	return nil
}

func webUserCommand() *cobra.Command {
	u := &webUsers{}
	c := &cobra.Command{
		Use:   "user",
		Short: "Make users of the page, list them, remove them",
		Args:  noArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.PersistentFlags().StringVarP(&u.config, "config", "c", "", "the daemon's configuration, a `path` as with run: it says where the file of users is")
	c.PersistentFlags().StringVar(&u.file, "file", "", "the `file` of users")
	c.AddCommand(u.addCommand(), u.passwdCommand(), u.listCommand(), u.removeCommand())
	return c
}

func (u *webUsers) addCommand() *cobra.Command {
	role := control.Reader.String()
	none := false
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a user of the page, with a password",
		Long: `Make a user who may log in at the page. The password is asked for at the terminal, or is the
first line of standard input. What is kept of it is its argon2id hash. Who is there already gets
the new role and password.`,
		Example: `  bailiff web user add anna --role operator
  pwgen 20 1 | bailiff web user add bob --role viewer
  bailiff web user add www-anna --role admin --no-password`,
		Args: args(1, 1),
		RunE: func(c *cobra.Command, names []string) error {
			r, err := control.ParseRole(role)
			if err != nil {
				return usageError("--" + err.Error())
			}
			if err := web.CheckName(names[0]); err != nil {
				return usageError(err.Error())
			}
			hash := web.NoPassword
			if !none {
				if hash, err = readPassword(c); err != nil {
					return err
				}
			}
			return u.change(c.OutOrStdout(), names[0]+" ("+r.String()+") is", func(users []web.User) ([]web.User, error) {
				users = slices.DeleteFunc(users, func(o web.User) bool { return o.Name == names[0] })
				return append(users, web.User{Name: names[0], Role: r, Hash: hash}), nil
			})
		},
	}
	c.Flags().StringVar(&role, "role", role, "what the user may do: viewer asks; operator bans, unbans and reloads; admin changes settings, too")
	c.Flags().BoolVar(&none, "no-password", false, "only give a role to who is named by a proxy, or comes over the Unix socket")
	_ = c.RegisterFlagCompletionFunc("role", completeRoles)
	return c
}

func (u *webUsers) passwdCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "passwd NAME",
		Short:   "Change a user's password",
		Long:    "Change the password of a user of the page: it is asked for at the terminal, or is the first line of\nstandard input. Who is logged in with the old one is logged out.",
		Example: "  bailiff web user passwd anna",
		Args:    args(1, 1),
		RunE: func(c *cobra.Command, names []string) error {
			hash, err := readPassword(c)
			if err != nil {
				return err
			}
			return u.change(c.OutOrStdout(), names[0]+" has a new password", func(users []web.User) ([]web.User, error) {
				at := slices.IndexFunc(users, func(o web.User) bool { return o.Name == names[0] })
				if at < 0 {
					return nil, fmt.Errorf("no user %s: `bailiff web user add` makes one", plainly(names[0]))
				}
				users[at].Hash = hash
				return users, nil
			})
		},
	}
}

func (u *webUsers) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "remove NAME…",
		Short:   "Remove users of the page",
		Long:    "Remove users of the page. Who is logged in is logged out within seconds.",
		Example: "  bailiff web user remove anna",
		Args:    args(1, -1),
		RunE: func(c *cobra.Command, names []string) error {
			return u.change(c.OutOrStdout(), strings.Join(names, ", ")+": no longer", func(users []web.User) ([]web.User, error) {
				for _, name := range names {
					at := slices.IndexFunc(users, func(o web.User) bool { return o.Name == name })
					if at < 0 {
						return nil, fmt.Errorf("no user %s", plainly(name))
					}
					users = slices.Delete(users, at, at+1)
				}
				return users, nil
			})
		},
	}
}

func (u *webUsers) listCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the users of the page",
		Example: "  bailiff web user list",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			path, err := u.path()
			if err != nil {
				return err
			}
			users, err := web.ReadUsers(path)
			if err != nil {
				return err
			}
			type one struct {
				Name     string `json:"name"`
				Role     string `json:"role"`
				Password bool   `json:"password"`
			}
			list := []one{}
			for _, o := range users {
				list = append(list, one{o.Name, o.Role.String(), o.Hash != web.NoPassword})
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), list)
			}
			if len(list) == 0 {
				fmt.Fprintf(c.OutOrStdout(), "there are no users in %s\n", plainly(path))
				return nil
			}
			t := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tROLE\tPASSWORD")
			for _, o := range list {
				has := "no"
				if o.Password {
					has = "yes"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\n", o.Name, o.Role, has)
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// readPassword asks for a password at the terminal, twice, or reads it from standard input, and returns
// its hash.
func readPassword(c *cobra.Command) (string, error) {
	in, isFile := c.InOrStdin().(*os.File)
	if isFile && term.IsTerminal(int(in.Fd())) {
		ask := func(prompt string) (string, error) {
			fmt.Fprint(c.ErrOrStderr(), prompt)
			text, err := term.ReadPassword(int(in.Fd()))
			fmt.Fprintln(c.ErrOrStderr())
			return string(text), err
		}
		one, err := ask("Password: ")
		if err != nil {
			return "", err
		}
		two, err := ask("Again: ")
		if err != nil {
			return "", err
		}
		if one != two {
			return "", errors.New("these are two passwords: nothing was changed")
		}
		return web.HashPassword(one)
	}
	line, err := bufio.NewReader(io.LimitReader(c.InOrStdin(), 64<<10)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return web.HashPassword(strings.TrimRight(line, "\r\n"))
}

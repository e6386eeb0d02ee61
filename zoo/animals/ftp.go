package animals

var ftpWays = []Way{
	{What: "wrong password", Script: `python3 /zoo/ftp.py bob wrong`, Times: 3},
	{What: "unknown user", Script: `python3 /zoo/ftp.py nobody-here wrong`, Times: 2},
}

const ftpSuccess = `python3 /zoo/ftp.py alice right`

// vsftpd is an animal whose service is vsftpd, with some more lines of its configuration.
func vsftpd(a Animal, more string) Animal {
	a.Root, a.Packages, a.Port, a.Success, a.Ways = "vsftpd", []string{"vsftpd"}, 21, ftpSuccess, ftpWays
	a.Setup = quickPAM + `cat >/etc/vsftpd.conf <<X
listen=YES
local_enable=YES
anonymous_enable=NO
` + more + `secure_chroot_dir=/var/run/vsftpd/empty
pam_service_name=vsftpd
delay_failed_login=0
isolate=NO
seccomp_sandbox=NO
background=YES
X
mkdir -p /var/run/vsftpd/empty
sed -i '/pam_shells/d' /etc/pam.d/vsftpd
`
	a.Start = syslog + `vsftpd`
	return a
}

var (
	_ = add(vsftpd(Animal{Name: "vsftpd", Log: "/var/log/vsftpd.log"}, "dual_log_enable=YES\nlog_ftp_protocol=NO\n"))
	_ = add(vsftpd(Animal{Name: "vsftpd-pam", Filter: "vsftpd", Log: "/var/log/auth.log"}, ""))
	_ = add(vsftpd(Animal{Name: "pam", Fail2ban: "pam-generic", Log: "/var/log/auth.log"}, ""))
	_ = add(Animal{
		Name:     "proftpd",
		Root:     "proftpd",
		Packages: []string{"proftpd-core"},
		Setup: quickPAM + `cat >/etc/proftpd/conf.d/zoo.conf <<X
UseReverseDNS off
RequireValidShell off
X
sed -i 's/^UseIPv6.*/UseIPv6 off/; s/^ServerName.*/ServerName "host"/' /etc/proftpd/proftpd.conf
echo '192.0.2.1 host' >>/etc/hosts
`,
		Start:   syslog + `proftpd`,
		Port:    21,
		Log:     "/var/log/proftpd/proftpd.log",
		Success: ftpSuccess,
		Ways: append([]Way{
			{What: "root", Script: `python3 /zoo/ftp.py root wrong`},
		}, ftpWays...),
	})
	_ = add(Animal{
		Name:     "pure-ftpd",
		Root:     "pure-ftpd",
		Packages: []string{"pure-ftpd"},
		Setup:    quickPAM + `sed -i '/pam_shells/d' /etc/pam.d/pure-ftpd`,
		Start:    syslog + `pure-ftpd -l pam -H -u 100 -B`,
		Port:     21,
		Log:      "/var/log/syslog",
		Success:  ftpSuccess,
		Ways:     ftpWays,
	})
)

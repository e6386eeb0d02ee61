iptables v1.8.9 (nf_tables): invalid port/service `22-25' specified
Try `iptables -h' or 'iptables --help' for more information.

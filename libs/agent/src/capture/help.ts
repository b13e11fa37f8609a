/** `mizzen iptables --help`. */
export const HELP = `Usage: mizzen iptables [flags]

Sets the iptables rules of this network namespace by which a workload's traffic reaches its sidecar. Needs root with the capabilities
NET_ADMIN and NET_RAW. It may run again at any time: the rules are replaced as a whole. Flags are those of istio-iptables; lists are separated by
commas, and without flags everything is captured.

What is captured
  -b, --istio-inbound-ports LIST                 ports of the workload; * is all (default *)
  -d, --istio-local-exclude-ports LIST           ports left alone with -b * (default 15090,15021,15020)
  -i, --istio-service-cidr LIST                  destinations, as address ranges; * is all (default *)
  -x, --istio-service-exclude-cidr LIST          destinations left alone
  -q, --istio-outbound-ports LIST                destination ports that are captured whatever -i says
  -o, --istio-local-outbound-ports-exclude LIST  destination ports left alone
  -c, --istio-exclude-interfaces LIST            network interfaces left alone, both ways
  -k, --kube-virt-interfaces LIST                interfaces of virtual machines: what comes from them is outbound
      --outbound-owner-groups LIST               groups whose processes are captured; * is all (default *)
      --outbound-owner-groups-exclude LIST       groups whose processes are left alone
      --redirect-dns                             DNS questions to the servers of /etc/resolv.conf go to the sidecar
      --capture-all-dns                          with --redirect-dns: those to every server
      --drop-invalid                             drop packets that belong to no connection

The proxy
  -p, --envoy-port PORT                          takes outbound connections (default 15001)
  -z, --inbound-capture-port PORT                takes inbound connections (default 15006)
  -e, --inbound-tunnel-port PORT                 takes tunnels itself and is left alone (default 15008)
      --dns-port PORT                            answers DNS questions (default 15053)
  -u, --proxy-uid LIST                           users that it runs as (default 1337)
  -g, --proxy-gid LIST                           groups that it runs as (default: as -u)
  -m, --istio-inbound-interception-mode MODE     only REDIRECT

How
      --backend auto|nft|legacy                  which iptables; auto takes the one that has rules already (default auto)
      --ipv6 auto|on|off                         auto: where the workload has an IPv6 address (default auto)
      --dual-stack                               as --ipv6 on
  -n, --dry-run                                  print what iptables-restore would be given, change nothing
      --cleanup                                  remove the rules
  -h, --help                                     this text

Exit codes: 0 done, 1 the rules could not be set, 64 a flag is wrong.
`;

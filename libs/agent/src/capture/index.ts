export { HELP as IPTABLES_HELP } from './help.ts';
export { type IptablesEnvironment, runIptables } from './run-iptables.ts';

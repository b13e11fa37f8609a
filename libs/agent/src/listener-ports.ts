import { type AnnouncedPorts, addressOf } from './node.ts';
import { type AgentOptions, DEFAULT_HOST } from './options.ts';
import { type PortReservation, reservePort } from './port-reservation.ts';

/** The ports that the control plane makes listeners of: held by the agent until those arrive. */
export class ListenerPorts {
  /** Where the program's own requests are taken: nobody else's. */
  readonly #host: string;
  /** Where others reach the workload. */
  readonly #inboundHost: string;
  readonly #inbound = new Map<number, PortReservation>();
  #httpProxy: PortReservation | undefined;

  constructor(options: AgentOptions) {
    this.#host = options.host ?? DEFAULT_HOST;
    this.#inboundHost = addressOf(options);
  }

  /** Throws MIZZEN_PORT_IN_USE when the wished HTTP proxy port is taken. */
  async reserve(options: Pick<AgentOptions, 'inbound' | 'httpProxyPort' | 'pod'>): Promise<void> {
    // With capture the proxy binds nothing for them.
    const inbound = options.pod?.interceptionMode === 'REDIRECT' ? [] : options.inbound;
    for (const { port } of inbound) this.#inbound.set(port, await this.#anyInbound(port));
    if (options.httpProxyPort === undefined) return;
    this.#httpProxy = await reservePort({ host: this.#host, port: options.httpProxyPort, what: 'the HTTP proxy port', keepsCallers: true });
  }

  /** Chooses others in place of those that somebody took. False where none of them may be another. */
  async replace(taken: readonly PortReservation[]): Promise<boolean> {
    let isChanged = false;
    for (const [port, reservation] of this.#inbound) {
      if (!taken.includes(reservation)) continue;
      this.#inbound.set(port, await this.#anyInbound(port));
      isChanged = true;
    }
    if (this.#httpProxy?.isAnyPort && taken.includes(this.#httpProxy)) {
      this.#httpProxy = await reservePort({ host: this.#host, port: 0, what: 'the HTTP proxy port' });
      isChanged = true;
    }
    return isChanged;
  }

  all(): readonly PortReservation[] {
    return [...this.#inbound.values(), ...(this.#httpProxy ? [this.#httpProxy] : [])];
  }

  announced(): Pick<AnnouncedPorts, 'inbound' | 'httpProxy'> {
    return {
      inbound: new Map([...this.#inbound].map(([port, reservation]) => [port, reservation.port])),
      httpProxy: this.#httpProxy?.port,
    };
  }

  release(): void {
    for (const reservation of this.all()) {
      reservation.release();
      reservation.dropCallers();
    }
  }

  #anyInbound(port: number): Promise<PortReservation> {
    return reservePort({ host: this.#inboundHost, port: 0, what: `the inbound port for ${port}` });
  }
}

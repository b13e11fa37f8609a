import type { AnnouncedPorts } from './node.ts';
import { type AgentOptions, DEFAULT_HOST } from './options.ts';
import { type PortReservation, reservePort } from './port-reservation.ts';

/** The ports that the control plane makes listeners of: held by the agent until those arrive. */
export class ListenerPorts {
  readonly #host: string;
  readonly #inbound = new Map<number, PortReservation>();
  #httpProxy: PortReservation | undefined;

  constructor(options: AgentOptions) {
    this.#host = options.host ?? DEFAULT_HOST;
  }

  /** Throws MIZZEN_PORT_IN_USE when the wished HTTP proxy port is taken. */
  async reserve(options: Pick<AgentOptions, 'inbound' | 'httpProxyPort'>): Promise<void> {
    for (const { port } of options.inbound) this.#inbound.set(port, await this.#any(`the inbound port for ${port}`));
    if (options.httpProxyPort === undefined) return;
    this.#httpProxy = await reservePort({ host: this.#host, port: options.httpProxyPort, what: 'the HTTP proxy port', keepsCallers: true });
  }

  /** Chooses others in place of those that somebody took. False where none of them may be another. */
  async replace(taken: readonly PortReservation[]): Promise<boolean> {
    let isChanged = false;
    for (const [port, reservation] of this.#inbound) {
      if (!taken.includes(reservation)) continue;
      this.#inbound.set(port, await this.#any(`the inbound port for ${port}`));
      isChanged = true;
    }
    if (this.#httpProxy?.isAnyPort && taken.includes(this.#httpProxy)) {
      this.#httpProxy = await this.#any('the HTTP proxy port');
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

  #any(what: string): Promise<PortReservation> {
    return reservePort({ host: this.#host, port: 0, what });
  }
}

import type { CompiledFault } from '@mizzen/matching';
import type { FilterDecision, HttpFilter } from './http-filter.ts';
import type { HttpStream } from './http-stream.ts';
import { Deadline } from './timer-wheel.ts';

/**
 * Delays and aborts requests before they are routed: retries and timeouts of the route do not act on what is injected.
 * Source: Envoy, Fault injection filter (1.40).
 */
export class FaultFilter implements HttpFilter {
  readonly #fault: CompiledFault;
  #active = 0;

  /** `fault` is the filter's own; routes override it. */
  constructor(fault: CompiledFault) {
    this.#fault = fault;
  }

  onRequest(stream: HttpStream): FilterDecision {
    const fault = stream.target?.filterConfig.fault ?? stream.route?.filterConfig.fault ?? this.#fault;
    if ((fault.delay === undefined && fault.abort === undefined) || !applies(fault, stream) || this.#active >= fault.maxActiveFaults)
      return 'continue';
    const { random } = stream.runtime.context;
    const { delay } = fault;
    if (delay === undefined || delay.delayMs <= 0 || random() >= delay.ratio) return this.#abort(fault, stream);
    stream.info.addFlag('delayInjected');
    stream.runtime.stats.faultDelaysInjected++;
    this.#active++;
    stream.delay = new Deadline(stream.runtime.wheel, () => {
      if (this.#abort(fault, stream) === 'continue') stream.continueRequest();
    });
    stream.delay.arm(delay.delayMs);
    return 'stop';
  }

  onStreamEnd(stream: HttpStream): void {
    if (stream.delay !== undefined) this.#active--;
  }

  #abort({ abort }: CompiledFault, stream: HttpStream): FilterDecision {
    if (abort === undefined || stream.runtime.context.random() >= abort.ratio) return 'continue';
    stream.runtime.stats.faultAbortsInjected++;
    stream.reply({
      status: abort.httpStatus,
      details: 'fault_filter_abort',
      flag: 'faultInjected',
      body: 'fault filter abort',
      ...(abort.grpcStatus === undefined ? {} : { grpcStatus: abort.grpcStatus }),
    });
    return 'stop';
  }
}

function applies(fault: CompiledFault, stream: HttpStream): boolean {
  if (fault.upstreamCluster !== '' && fault.upstreamCluster !== stream.target?.cluster) return false;
  return fault.conditions.every((holds) => holds(stream.info));
}

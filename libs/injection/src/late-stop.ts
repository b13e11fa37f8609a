import { type Container, type Pod, PROXY_CONTAINER } from './pod.ts';

// Kubernetes' default of terminationGracePeriodSeconds.
const DEFAULT_GRACE_S = 30;

/**
 * Lets each program without a preStop hook of its own live on for `seconds` after its pod was deleted. The kubelet tells it to end at the
 * very moment in which everybody begins to learn that the pod goes; one that ends at once refuses the requests that are still sent to it,
 * which nobody may repeat unasked. The `sleep` of a hook is known wherever native sidecars are (Kubernetes 1.30). It does not run when a
 * program ends by itself, as a Job's does.
 *
 * @deviation Istio leaves such a hook to whoever writes the pod.
 */
export function delayProgramStop(pod: Pod, seconds: number): Pod {
  const { containers, terminationGracePeriodSeconds: grace = DEFAULT_GRACE_S } = pod.spec ?? {};
  // A hook that takes all of the time would have the program killed, and one that takes more is refused.
  if (seconds <= 0 || !containers || typeof grace !== 'number' || grace <= seconds) return pod;
  return { ...pod, spec: { ...pod.spec, containers: containers.map((container) => withHook(container, seconds)) } };
}

function withHook(container: Container, seconds: number): Container {
  if (container.name === PROXY_CONTAINER || container.lifecycle?.preStop) return container;
  return { ...container, lifecycle: { ...container.lifecycle, preStop: { sleep: { seconds } } } };
}

/**
 * How long to wait before attempt `n` (0, 1, …), in ms: uniformly between 0 and a window that doubles from `firstMs` to `mostMs`
 * ("full jitter"), so that clients that lost the same server do not come back together.
 */
export function backoffMs(n: number, firstMs: number, mostMs: number, random: () => number = Math.random): number {
  return random() * Math.min(mostMs, firstMs * 2 ** Math.min(n, 30));
}

/** Waits; rejects with the signal's reason when it is aborted. */
export function sleep(ms: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const end = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}

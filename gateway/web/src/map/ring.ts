/** The last so many numbers. */
export class Ring {
  /** Numbers added in all. */
  total = 0;
  #kept: Float32Array;

  constructor(most: number) {
    this.#kept = new Float32Array(most);
  }

  add(v: number): void {
    this.#kept[this.total++ % this.#kept.length] = v;
  }

  /** A copy, oldest first. */
  values(): Float32Array {
    const most = this.#kept.length;
    if (this.total <= most) return this.#kept.slice(0, this.total);
    const out = new Float32Array(most), at = this.total % most;
    out.set(this.#kept.subarray(at));
    out.set(this.#kept.subarray(0, at), most - at);
    return out;
  }
}

/** At most so many labels are drawn. */
export const MOST_LABELS = 300;

const CELL = 6; // CSS pixels

/** Keeps labels from lying on one another: a coarse bitmap of what is taken. Made once, cleared for each picture. */
export class LabelGrid {
  /** Labels placed since {@link clear}. */
  placed = 0;

  #cols = 0;
  #rows = 0;
  #taken = new Uint8Array(0);

  /** Begins a picture of this size, CSS pixels. */
  clear(width: number, height: number): void {
    const cols = Math.ceil(width / CELL), rows = Math.ceil(height / CELL);
    if (cols * rows > this.#taken.length) this.#taken = new Uint8Array(cols * rows);
    else this.#taken.fill(0);
    this.#cols = cols;
    this.#rows = rows;
    this.placed = 0;
  }

  /** Takes the rectangle for a label; false where it would touch another, lies wholly outside, or {@link MOST_LABELS} stand already. */
  place(x: number, y: number, width: number, height: number): boolean {
    if (this.placed >= MOST_LABELS || !this.#sweep(x, y, width, height, false)) return false;
    this.#sweep(x, y, width, height, true);
    this.placed++;
    return true;
  }

  /** Takes the rectangle, whatever lies there, without counting it as a label: a pin, a selected robot. */
  block(x: number, y: number, width: number, height: number): void {
    this.#sweep(x, y, width, height, true);
  }

  #sweep(x: number, y: number, width: number, height: number, take: boolean): boolean {
    const c0 = Math.max(0, Math.floor(x / CELL)), c1 = Math.min(this.#cols - 1, Math.floor((x + width) / CELL));
    const r0 = Math.max(0, Math.floor(y / CELL)), r1 = Math.min(this.#rows - 1, Math.floor((y + height) / CELL));
    if (c0 > c1 || r0 > r1) return false;
    for (let r = r0; r <= r1; r++) {
      for (let i = r * this.#cols + c0, end = r * this.#cols + c1; i <= end; i++) {
        if (take) this.#taken[i] = 1;
        else if (this.#taken[i] === 1) return false;
      }
    }
    return true;
  }
}

/** Widths of texts, so that none is measured twice; bounded: cleared when full. */
export class TextWidths {
  static readonly most = 4000;
  #widths = new Map<string, number>();
  #font = "";

  /** The width of `text` in the context's font, which must be `font`. */
  of(g: { measureText(text: string): { width: number } }, font: string, text: string): number {
    if (font !== this.#font || this.#widths.size >= TextWidths.most) {
      this.#widths.clear();
      this.#font = font;
    }
    let w = this.#widths.get(text);
    if (w === undefined) this.#widths.set(text, (w = g.measureText(text).width));
    return w;
  }
}

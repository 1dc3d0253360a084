// Small PNGs: a picture of many thousand signs is no better for more than 256 colours, and three times as large.
import { crc32, deflateSync } from "node:zlib";
import type { Page } from "@playwright/test";

const COLOURS = 256;

/** The picture with at most 256 colours, the most frequent ones; what is lost is between these. */
export async function reduced(page: Page, png: Buffer): Promise<Buffer> {
  const { width, height, palette, cells } = await page.evaluate(
    async ([bytes, most]) => {
      const image = await createImageBitmap(new Blob([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], { type: "image/png" }));
      const pen = new OffscreenCanvas(image.width, image.height).getContext("2d")!;
      pen.drawImage(image, 0, 0);
      const { data } = pen.getImageData(0, 0, image.width, image.height);
      const n = image.width * image.height;
      // By five bits a channel, so that shades of one edge count as one; each keeps its most recent exact colour.
      const bin = (i: number): number => ((data[4 * i]! >> 3) << 10) | ((data[4 * i + 1]! >> 3) << 5) | (data[4 * i + 2]! >> 3);
      const count = new Map<number, number>(), exact = new Map<number, number[]>();
      for (let i = 0; i < n; i++) {
        const b = bin(i);
        count.set(b, (count.get(b) ?? 0) + 1);
        exact.set(b, [data[4 * i]!, data[4 * i + 1]!, data[4 * i + 2]!]);
      }
      const kept = [...count].sort((a, b) => b[1] - a[1]).slice(0, most).map(([b]) => exact.get(b)!);
      const nearest = new Map<number, number>();
      let out = "";
      for (let i = 0; i < n; i++) {
        const b = bin(i);
        let at = nearest.get(b);
        if (at === undefined) {
          const far = (c: number[]): number => (c[0]! - data[4 * i]!) ** 2 + (c[1]! - data[4 * i + 1]!) ** 2 + (c[2]! - data[4 * i + 2]!) ** 2;
          at = kept.reduce((best, c, k) => (far(c) < far(kept[best]!) ? k : best), 0);
          nearest.set(b, at);
        }
        out += String.fromCharCode(at);
      }
      return { width: image.width, height: image.height, palette: kept.flat(), cells: btoa(out) };
    },
    [png.toString("base64"), COLOURS] as const,
  );
  const row = Buffer.from(cells, "base64");
  const lines = Buffer.concat(Array.from({ length: height }, (_, y) => Buffer.concat([Buffer.from([0]), row.subarray(y * width, (y + 1) * width)])));
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8); // eight bits, of a palette
  return Buffer.concat([Buffer.from("89504e470d0a1a0a", "hex"), chunk("IHDR", head), chunk("PLTE", Buffer.from(palette)), chunk("IDAT", deflateSync(lines, { level: 9 })), chunk("IEND", Buffer.alloc(0))]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const out = Buffer.alloc(8 + data.length + 4);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE(crc32(body), 8 + data.length);
  return out;
}

/** Robots one by one, or zones with their counts. */
export type Detail = "robots" | "clusters";

/** Above this number single robots are not drawn where each would be a speck. */
export const CROWD = 20_000;
/** CSS pixels below which a robot is a speck. */
export const SPECK_PX = 4;
/** The least drawn size of a robot in a crowd, CSS pixels. */
export const LEAST_PX = 5;
/** The same where there are few. */
export const LEAST_ALONE_PX = 9;
/** The largest drawn size of a robot, CSS pixels. */
export const MOST_PX = 34;

/**
 * How large a robot is drawn, CSS pixels: about a cell, never so small that it cannot be seen nor so large that it hides its
 * neighbours. A few hundred robots have room to be larger than their cells; ten thousand have not.
 */
export function robotPx(scale: number, cell: number, robots: number): number {
  const crowded = Math.min(1, Math.max(0, Math.log10(Math.max(1, robots) / 300) / Math.log10(10_000 / 300)));
  return Math.min(Math.max(0.86 * cell * scale, LEAST_ALONE_PX + (LEAST_PX - LEAST_ALONE_PX) * crowded), MOST_PX);
}

/**
 * Which of the two is drawn. `robots` = robots in the table; 0 = nobody asked the server for them. `was` is what is drawn now: the
 * border is crossed a little later on the way back, so that a trembling wheel does not make the picture flicker.
 */
export function detailOf(scale: number, cell: number, robots: number, zones: number, was: Detail): Detail {
  const px = 0.86 * cell * scale;
  const speck = px < SPECK_PX * (was === "clusters" ? 1.15 : 1);
  const crowd = robots === 0 || robots > CROWD * (was === "clusters" ? 0.95 : 1);
  return zones > 0 && speck && crowd ? "clusters" : "robots";
}

/** How bad it is: L1, L2, L3; nothing at level 0. */
export function Level({ of: level }: { of: number }) {
  if (level <= 0) return null;
  return <b class={`level l${Math.min(3, level)}`} title={`Level ${level} of 3`}>L{level}</b>;
}

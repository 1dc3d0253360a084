import { effect, signal } from "@preact/signals";

const KEPT = "starling.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Light or dark: as chosen here, else as the system has it. */
export const theme = signal<"light" | "dark">("light");

export function followTheme(): void {
  const kept = localStorage.getItem(KEPT);
  theme.value = kept === "light" || kept === "dark" ? kept : dark.matches ? "dark" : "light";
  dark.addEventListener("change", () => {
    if (localStorage.getItem(KEPT) === null) theme.value = dark.matches ? "dark" : "light";
  });
  effect(() => {
    document.documentElement.dataset["theme"] = theme.value;
  });
}

export function chooseTheme(t: "light" | "dark"): void {
  localStorage.setItem(KEPT, t);
  theme.value = t;
}

// Colors that readers with any color vision can tell apart (Okabe and Ito, 2008; cividis).
export type ColorMode = "structure" | "uncertainty" | "confidence" | "position";

const STATE_COLORS: Record<string, string> = { H: "#d55e00", E: "#0072b2", L: "#8c96a0" };
const CIVIDIS = [
  [0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56],
];

function sequential(fraction: number): string {
  const place = Math.min(Math.max(fraction, 0), 1) * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(place), CIVIDIS.length - 2);
  const mixed = CIVIDIS[low].map((value, channel) =>
    Math.round(value + (place - low) * (CIVIDIS[low + 1][channel] - value)),
  );
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}

/** Color of each residue, as a function of its place in the chain. */
export function residueColors(
  mode: ColorMode,
  states: string,
  uncertainty: number[],
  confidence: number[],
): string[] {
  const length = states.length;
  if (mode === "position") {
    return Array.from(states, (_, i) => sequential(length > 1 ? i / (length - 1) : 0));
  }
  if (mode === "uncertainty" && uncertainty.length === length) {
    const low = Math.min(...uncertainty);
    const span = Math.max(...uncertainty) - low || 1;
    return uncertainty.map((value) => sequential((value - low) / span));
  }
  if (mode === "confidence" && confidence.length === length) return confidence.map(sequential);
  return Array.from(states, (state) => STATE_COLORS[state] ?? STATE_COLORS.L);
}

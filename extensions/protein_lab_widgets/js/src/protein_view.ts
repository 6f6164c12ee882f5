// A cartoon of one protein out of several, with a choice of coloring. It draws with 3Dmol.js.
//
// `mount(element, state)` serves reports; the default export serves anywidget. Both keep what the
// element holds already (a still picture) when the browser cannot draw with WebGL.
import { createViewer, type Atom, type Viewer } from "3dmol/build/3Dmol.es6-min.js";
import { type ColorMode, residueColors } from "./colors";

/** One protein: PDB text, a state letter, and if known angstrom and probability, a residue. */
export interface Structure {
  name: string;
  pdb: string;
  states: string;
  uncertainty: number[];
  confidence: number[];
}

export interface ViewState {
  structures: Structure[];
  selected: number;
  color: ColorMode;
  spin: boolean;
}

export interface View {
  update(change: Partial<ViewState>): void;
  dispose(): void;
}

const MODES: [ColorMode, string][] = [
  ["structure", "Secondary structure"],
  ["uncertainty", "Uncertainty"],
  ["confidence", "Sequence confidence"],
  ["position", "N to C terminus"],
];

function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  style: string,
  text = "",
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.style.cssText = style;
  made.textContent = text;
  return made;
}

/** Residue number of each atom, counted along the file, and its state in 3Dmol's letters. */
function assignStates(atoms: Atom[], states: string): number[] {
  const residueOf: number[] = [];
  let residue = -1;
  let previous = "";
  for (const atom of atoms) {
    const key = `${atom.chain}/${atom.resi}/${atom.icode ?? ""}`;
    if (key !== previous) {
      residue += 1;
      previous = key;
    }
    residueOf.push(residue);
    const state = states[residue];
    atom.ss = state === "H" ? "h" : state === "E" ? "s" : "c";
    atom.ssbegin = states[residue - 1] !== state;
    atom.ssend = states[residue + 1] !== state;
  }
  return residueOf;
}

class Drawing {
  private residueOf = new Map<Atom, number>();

  constructor(
    private readonly viewer: Viewer,
    private state: ViewState,
  ) {
    this.load();
  }

  change(change: Partial<ViewState>): void {
    const before = this.state;
    this.state = { ...before, ...change };
    if (this.state.structures !== before.structures || this.state.selected !== before.selected) {
      this.load();
    } else {
      this.color();
    }
    this.viewer.spin(this.state.spin ? "y" : false, 0.5);
  }

  reset(): void {
    this.viewer.zoomTo();
    this.viewer.render();
  }

  private get structure(): Structure | undefined {
    return this.state.structures[this.state.selected];
  }

  private load(): void {
    this.viewer.removeAllLabels();
    this.viewer.removeAllModels();
    const structure = this.structure;
    if (!structure) {
      this.viewer.render();
      return;
    }
    const options = { noComputeSecondaryStructure: true, keepH: false };
    const atoms = this.viewer.addModel(structure.pdb, "pdb", options).selectedAtoms({});
    const numbers = assignStates(atoms, structure.states);
    this.residueOf = new Map(atoms.map((atom, i) => [atom, numbers[i]]));
    this.viewer.setHoverable({}, true, (atom) => this.label(atom), () => this.unlabel());
    this.color();
    this.reset();
  }

  private color(): void {
    const structure = this.structure;
    if (!structure) return;
    const colors = residueColors(
      this.state.color, structure.states, structure.uncertainty, structure.confidence,
    );
    const colorfunc = (atom: Atom): string => colors[this.residueOf.get(atom) ?? 0] ?? "#8c96a0";
    this.viewer.setStyle({}, { cartoon: { colorfunc, arrows: true, thickness: 0.35 } });
    this.viewer.render();
  }

  private label(atom: Atom): void {
    const structure = this.structure;
    const number = this.residueOf.get(atom) ?? 0;
    const spread = structure?.uncertainty[number];
    const sure = structure?.confidence[number];
    const parts = [
      `${atom.resn} ${atom.resi}`,
      ...(sure === undefined ? [] : [`p ${sure.toFixed(2)}`]),
      ...(spread === undefined ? [] : [`±${spread.toFixed(2)} Å`]),
    ];
    const text = parts.join(", ");
    this.unlabel();
    this.viewer.addLabel(text, {
      position: atom, backgroundColor: "#1b2733", backgroundOpacity: 0.85, fontSize: 12,
    });
    this.viewer.render();
  }

  private unlabel(): void {
    this.viewer.removeAllLabels();
    this.viewer.render();
  }
}

/** Let the wheel scroll the page until the reader has clicked into the picture. */
function holdWheel(stage: HTMLElement): void {
  let active = false;
  stage.addEventListener("pointerdown", () => (active = true));
  stage.addEventListener("pointerleave", () => (active = false));
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!active && !event.ctrlKey) event.stopPropagation();
    },
    { capture: true },
  );
}

function controls(state: ViewState, drawing: Drawing, onChange: (c: Partial<ViewState>) => void) {
  const bar = element(
    "div",
    "display:flex;flex-wrap:wrap;gap:.5em;align-items:center;padding:.5em;font:13px system-ui,sans-serif",
  );
  const label = element("label", "", "Color by ");
  const choice = element("select", "font:inherit;padding:.15em");
  for (const [mode, text] of MODES) {
    const optional = mode === "uncertainty" || mode === "confidence";
    if (optional && !state.structures.some((item) => item[mode].length > 0)) continue;
    const option = element("option", "", text);
    option.value = mode;
    choice.append(option);
  }
  choice.value = state.color;
  choice.addEventListener("change", () => onChange({ color: choice.value as ColorMode }));
  label.append(choice);
  const reset = element("button", "font:inherit;padding:.15em .7em", "Reset view");
  reset.type = "button";
  reset.addEventListener("click", () => drawing.reset());
  const hint = element("span", "color:#5b6773", "Drag to turn. Click, then scroll to zoom.");
  bar.append(label, reset, hint);
  return { bar, choice };
}

/** Draw into an element; what it held is replaced only when drawing works. */
export function mount(
  host: HTMLElement,
  state: ViewState,
  onChange: (change: Partial<ViewState>) => void = () => undefined,
): View | null {
  const still = Array.from(host.childNodes);
  const stage = element("div", "position:relative;width:100%;height:100%;min-height:240px;flex:1");
  stage.setAttribute("role", "img");
  stage.setAttribute("aria-label", "Turnable three-dimensional picture of the protein backbone");
  const box = element("div", "display:flex;flex-direction:column;width:100%;height:100%");
  box.append(stage);
  host.replaceChildren(box);
  let viewer: Viewer | null = null;
  try {
    viewer = createViewer(stage, { backgroundColor: "white", antialias: true });
  } catch {
    viewer = null;
  }
  if (!viewer) {
    host.replaceChildren(...still);
    return null;
  }
  const shown = viewer;
  const drawing = new Drawing(shown, state);
  const apply = (change: Partial<ViewState>): void => {
    drawing.change(change);
    if (change.color) choice.value = change.color;
  };
  const { bar, choice } = controls(state, drawing, (change) => {
    apply(change);
    onChange(change);
  });
  box.append(bar);
  holdWheel(stage);
  const observer = new ResizeObserver(() => shown.resize());
  observer.observe(stage);
  drawing.change({});
  return {
    update: apply,
    dispose() {
      observer.disconnect();
      shown.spin(false);
      shown.clear();
      host.replaceChildren();
    },
  };
}

/** The part of anywidget's model that the view uses. */
interface Model {
  get<K extends keyof ViewState>(name: K): ViewState[K];
  get(name: "height"): number;
  set<K extends keyof ViewState>(name: K, value: ViewState[K]): void;
  save_changes(): void;
  on(event: string, callback: () => void): void;
  off(event: string, callback: () => void): void;
}

const TRAITS = ["structures", "selected", "color", "spin"] as const;

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const host = element("div", `width:100%;height:${model.get("height")}px`);
  el.append(host);
  const read = (): ViewState => ({
    structures: model.get("structures"),
    selected: model.get("selected"),
    color: model.get("color"),
    spin: model.get("spin"),
  });
  const view = mount(host, read(), (change) => {
    if (change.color) {
      model.set("color", change.color);
      model.save_changes();
    }
  });
  if (!view) {
    host.textContent = "This browser cannot draw with WebGL, which the 3-D view needs.";
    return () => host.remove();
  }
  const listeners = TRAITS.map((name) => {
    const listener = (): void => view.update({ [name]: model.get(name) });
    model.on(`change:${name}`, listener);
    return [name, listener] as const;
  });
  return () => {
    for (const [name, listener] of listeners) model.off(`change:${name}`, listener);
    view.dispose();
  };
}

export default { render };

// Reports embed this file in a page without modules to import from.
(globalThis as { proteinLabView?: { mount: typeof mount } }).proteinLabView = { mount };

// The part of 3Dmol.js 2.5 that the view uses.
declare module "3dmol/build/3Dmol.es6-min.js" {
  export interface Atom {
    chain: string;
    resi: number;
    icode?: string;
    ss: string;
    ssbegin?: boolean;
    ssend?: boolean;
    index: number;
    x: number;
    y: number;
    z: number;
    atom: string;
    resn: string;
  }
  export interface Model {
    selectedAtoms(selection: object): Atom[];
  }
  export interface Viewer {
    addModel(data: string, format: string, options?: object): Model;
    removeAllModels(): void;
    removeAllLabels(): void;
    setStyle(selection: object, style: object): void;
    setHoverable(
      selection: object,
      hoverable: boolean,
      over: (atom: Atom) => void,
      out: () => void,
    ): void;
    addLabel(text: string, options: object): void;
    zoomTo(selection?: object): void;
    zoom(factor: number): void;
    spin(axis: string | false, speed?: number): void;
    render(): void;
    resize(): void;
    clear(): void;
    rotate(angle: number, axis: string): void;
  }
  export function createViewer(element: HTMLElement, config: object): Viewer | null;
}

/**
 * Skeleton over the first picture, whose joints are dragged by pointer or moved by arrow keys.
 * In: joints to show. Out: joints that the user moved. Next: `kinematics.ts`.
 */
import { Body, type Point } from "./kinematics";
import type { Texts } from "./language";
import { HANDLES, type Handle, type Skeleton } from "./skeleton";

const SVG = "http://www.w3.org/2000/svg";
/** Largest distance of the pointer from a joint that it takes, in CSS pixels. */
const REACH_PX = 44;
/** Joints may be dragged out of the picture by this share of its height. */
const MARGIN = 0.1;
const KEYS: Record<string, Point> = {
  ArrowLeft: { x: -1, y: 0 },
  ArrowRight: { x: 1, y: 0 },
  ArrowUp: { x: 0, y: -1 },
  ArrowDown: { x: 0, y: 1 },
};

export class JointHandles {
  feetPinned = true;
  private body: Body | null = null;
  private dragged: Handle | null = null;
  private readonly limbs: SVGLineElement[];
  private readonly handles: Map<Handle, SVGGElement>;

  constructor(
    private readonly svg: SVGSVGElement,
    private readonly skeleton: Skeleton,
    private readonly lengths: Float32Array,
    private readonly size: { height: number; width: number },
    private readonly texts: Texts,
    private readonly moved: (joints: Float32Array) => void,
  ) {
    svg.setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
    this.limbs = skeleton.joints.map(({ colour }) => {
      const line = document.createElementNS(SVG, "line");
      line.setAttribute("stroke", `rgb(${colour.join(" ")})`);
      return svg.appendChild(line);
    });
    this.handles = new Map(HANDLES.map((handle) => [handle, this.added(handle)]));
    svg.addEventListener("pointerdown", (event) => this.take(event));
    svg.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"] as const) svg.addEventListener(end, () => this.release());
    new ResizeObserver(() => this.scale()).observe(svg);
    texts.whenever(() => this.name());
  }

  get isDragging(): boolean {
    return this.dragged !== null;
  }

  /** Show joints; null hides the skeleton. */
  show(joints: Float32Array | null): void {
    this.body = joints && new Body(this.skeleton, joints, this.lengths);
    this.limbs.forEach((line, row) => this.place(line, row));
    for (const [handle, group] of this.handles) {
      const isShown = this.body?.shows(handle) ?? false;
      group.toggleAttribute("hidden", !isShown);
      group.setAttribute("tabindex", isShown ? "0" : "-1");
      if (!isShown) continue;
      const { x, y } = this.body!.at(handle);
      group.setAttribute("transform", `translate(${x} ${y})`);
    }
  }

  private place(line: SVGLineElement, row: number): void {
    const points = this.body?.points;
    const parent = this.skeleton.parents[row];
    const ends = points && parent >= 0 ? [points[2 * parent], points[2 * parent + 1], points[2 * row], points[2 * row + 1]] : [NaN];
    const isShown = ends.every(Number.isFinite);
    line.toggleAttribute("hidden", !isShown);
    if (isShown) ["x1", "y1", "x2", "y2"].forEach((name, k) => line.setAttribute(name, String(ends[k])));
  }

  private added(handle: Handle): SVGGElement {
    const group = document.createElementNS(SVG, "g");
    group.setAttribute("class", "handle");
    group.setAttribute("role", "button");
    group.dataset.handle = handle;
    for (const name of ["halo", "dot"]) {
      const circle = document.createElementNS(SVG, "circle");
      circle.setAttribute("class", name);
      group.append(circle);
    }
    group.addEventListener("keydown", (event) => this.nudge(handle, event));
    return this.svg.appendChild(group);
  }

  private name(): void {
    for (const [handle, group] of this.handles) group.setAttribute("aria-label", this.texts.handle(handle));
  }

  /** Keep handles and lines at the same size on the screen. */
  private scale(): void {
    const pixel = this.size.width / Math.max(1, this.svg.clientWidth);
    const isSmall = this.svg.clientWidth < 520;
    for (const [name, radius] of [["halo", isSmall ? 9 : 13], ["dot", isSmall ? 4 : 5.5]] as const) {
      for (const circle of this.svg.querySelectorAll(`.${name}`)) circle.setAttribute("r", String(radius * pixel));
    }
    this.svg.style.setProperty("--pixel", String(pixel));
  }

  private pointer(event: PointerEvent): Point {
    const box = this.svg.getBoundingClientRect();
    const margin = MARGIN * this.size.height;
    const clip = (value: number, most: number) => Math.min(most + margin, Math.max(-margin, value));
    return {
      x: clip(((event.clientX - box.left) / box.width) * this.size.width, this.size.width),
      y: clip(((event.clientY - box.top) / box.height) * this.size.height, this.size.height),
    };
  }

  private take(event: PointerEvent): void {
    const handle = this.nearest(this.pointer(event));
    if (!handle || event.button !== 0) return;
    event.preventDefault();
    this.dragged = handle;
    this.svg.setPointerCapture(event.pointerId);
    this.svg.classList.add("dragging");
    this.handles.get(handle)!.focus({ preventScroll: true });
  }

  private nearest(point: Point): Handle | null {
    const reach = (REACH_PX * this.size.width) / Math.max(1, this.svg.clientWidth);
    const distance = (handle: Handle) => {
      const { x, y } = this.body!.at(handle);
      return Math.hypot(x - point.x, y - point.y);
    };
    const shown = HANDLES.filter((handle) => this.body?.shows(handle)).sort((a, b) => distance(a) - distance(b));
    return shown.length && distance(shown[0]) < reach ? shown[0] : null;
  }

  private drag(event: PointerEvent): void {
    if (this.dragged) this.move(this.dragged, this.pointer(event));
  }

  private release(): void {
    this.dragged = null;
    this.svg.classList.remove("dragging");
  }

  private nudge(handle: Handle, event: KeyboardEvent): void {
    const key = KEYS[event.key];
    if (!key || !this.body) return;
    event.preventDefault();
    const step = (this.size.height / 64) * (event.shiftKey ? 4 : 1);
    const { x, y } = this.body.at(handle);
    this.move(handle, { x: x + step * key.x, y: y + step * key.y });
  }

  private move(handle: Handle, target: Point): void {
    if (!this.body) return;
    const body = this.body.dragged(handle, target, this.feetPinned);
    this.show(body.points);
    this.moved(body.points);
  }
}

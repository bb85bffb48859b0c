/**
 * Drawing of pose maps, equal to `posecast.data.pose_maps.draw_pose_maps` but for rounding.
 * In: joints in pixels. Out: RGB bytes [H, W, 3]. Next: `puppetModel.ts`, whose networks see the maps.
 */
import type { About } from "./content";
import { Skeleton } from "./skeleton";

type Colour = readonly [number, number, number];

export class PoseMapDrawing {
  private readonly canvas: Float32Array;

  constructor(
    private readonly skeleton: Skeleton,
    readonly height: number,
    readonly width: number,
    private readonly style: Pick<About, "joint_radius" | "limb_radius" | "limb_opacity">,
  ) {
    this.canvas = new Float32Array(height * width * 3);
  }

  /** Draw joints, x and y in pixels of each; limbs first, in the order of the joints, then discs. */
  draw(points: Float32Array): Uint8Array<ArrayBuffer> {
    this.canvas.fill(1);
    const { joints, parents } = this.skeleton;
    const limb = this.style.limb_radius * this.height;
    joints.forEach((joint, row) => {
      if (parents[row] >= 0) this.paint(points, parents[row], row, 0.3 * limb, 0.7 * limb, joint.colour, this.style.limb_opacity);
    });
    const radius = this.style.joint_radius * this.height;
    joints.forEach((joint, row) => this.paint(points, row, row, radius, 0, joint.colour, Math.min(1, 2 * radius)));
    return Uint8Array.from(this.canvas, (value) => Math.round(value * 255));
  }

  /** Paint the area that a disc covers on its way between two joints; `middle` is added to its radius halfway. */
  private paint(points: Float32Array, from: number, to: number, radius: number, middle: number, colour: Colour, opacity: number): void {
    const [x0, y0, x1, y1] = [points[2 * from], points[2 * from + 1], points[2 * to], points[2 * to + 1]];
    if (![x0, y0, x1, y1].every(Number.isFinite)) return;
    const length = Math.hypot(x1 - x0, y1 - y0);
    const angle = Math.atan2(y1 - y0, x1 - x0);
    const [ax, ay] = [Math.cos(angle), Math.sin(angle)];
    const reach = radius + middle + 1;
    const [left, right] = span(x0, x1, reach, this.width);
    const [top, bottom] = span(y0, y1, reach, this.height);
    for (let row = top; row < bottom; row++) {
      for (let column = left; column < right; column++) {
        const x = column + 0.5 - x0;
        const y = row + 0.5 - y0;
        const along = x * ax + y * ay;
        const across = y * ax - x * ay;
        const share = Math.min(1, Math.max(0, along / Math.max(length, 1e-6)));
        const here = Math.max(radius + 4 * middle * share * (1 - share), 1e-4);
        const distance = Math.hypot(across, along - share * length);
        const coverage = Math.min(1, Math.max(0, Math.min(here, distance + 0.5) + Math.min(here, 0.5 - distance)));
        if (coverage > 0) this.blend(3 * (row * this.width + column), colour, coverage * opacity);
      }
    }
  }

  private blend(at: number, colour: Colour, alpha: number): void {
    for (let k = 0; k < 3; k++) this.canvas[at + k] += alpha * (colour[k] / 255 - this.canvas[at + k]);
  }
}

/** Return first and last + 1 pixel near a line's extent along one axis. */
function span(a: number, b: number, reach: number, size: number): [number, number] {
  const clip = (value: number) => Math.min(size, Math.max(0, value));
  return [clip(Math.floor(Math.min(a, b) - reach)), clip(Math.ceil(Math.max(a, b) + reach))];
}

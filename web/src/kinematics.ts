/**
 * Movement of one joint of a pose: limbs keep their lengths, what hangs on the joint follows.
 * In: joints in pixels, a joint and where it is dragged. Out: all joints. Next: `joints.ts`, which shows the handles.
 */
import type { Handle, Skeleton } from "./skeleton";

export interface Point {
  x: number;
  y: number;
}

/** Share of a limb's usual length that it has at least once it is dragged, also if it pointed at the camera before. */
const LEAST_SHARE = 0.6;
const SIDES = ["right", "left"] as const;

/** Joints of a pose, x and y in pixels; a missing joint is NaN. A value: no method changes it. */
export class Body {
  constructor(
    readonly skeleton: Skeleton,
    readonly points: Float32Array,
    /** Usual length of the limb that ends in each joint, in pixels; NaN where it is not known. */
    readonly lengths: Float32Array,
  ) {}

  at(name: string): Point {
    const row = this.skeleton.of(name);
    return { x: this.points[2 * row], y: this.points[2 * row + 1] };
  }

  shows(...names: string[]): boolean {
    return names.every((name) => Number.isFinite(this.at(name).x));
  }

  /** Return the body after one of its joints was dragged towards a point. */
  dragged(joint: Handle, target: Point, feetPinned: boolean): Body {
    const [side, part] = joint.includes("_") ? joint.split("_", 2) : ["", joint];
    if (!this.shows(joint)) return this;
    if (joint === "mid_hip") return this.withHips(target, feetPinned);
    if (joint === "neck") return this.leaning(target);
    if (joint === "nose") return this.turned("nose", "neck", target);
    if (part === "elbow") return this.turned(joint, `${side}_shoulder`, target);
    if (part === "wrist") return this.reaching(`${side}_shoulder`, `${side}_elbow`, joint, target, true);
    if (part === "ankle") return this.reaching(`${side}_hip`, `${side}_knee`, joint, target, false);
    if (!feetPinned) return this.turned(joint, `${side}_hip`, target);
    return this.reaching(`${side}_hip`, joint, `${side}_ankle`, this.at(`${side}_ankle`), false, target);
  }

  /** Return the body with its hips elsewhere; pinned feet stay, and the knees bend. */
  private withHips(target: Point, feetPinned: boolean): Body {
    const hips = this.at("mid_hip");
    let shift = { x: target.x - hips.x, y: target.y - hips.y };
    const legs = SIDES.filter((side) => this.shows(`${side}_hip`, `${side}_knee`, `${side}_ankle`));
    if (!feetPinned || legs.length === 0) return this.moved(this.skeleton.joints.map((_, row) => row), shift);
    for (let round = 0; round < 4; round++) {
      for (const side of legs) shift = this.withinReach(side, shift);
    }
    const below = new Set(SIDES.flatMap((side) => this.skeleton.subtree(this.skeleton.of(`${side}_knee`))));
    let body = this.moved(this.skeleton.joints.flatMap((_, row) => (below.has(row) ? [] : [row])), shift);
    for (const side of legs) {
      body = body.reaching(`${side}_hip`, `${side}_knee`, `${side}_ankle`, this.at(`${side}_ankle`), false);
    }
    return body;
  }

  /** Return the nearest shift of a hip from which its leg still reaches the foot. */
  private withinReach(side: string, shift: Point): Point {
    const hip = this.at(`${side}_hip`);
    const ankle = this.at(`${side}_ankle`);
    const away = { x: hip.x + shift.x - ankle.x, y: hip.y + shift.y - ankle.y };
    const most = this.length(`${side}_knee`) + this.length(`${side}_ankle`);
    const distance = Math.hypot(away.x, away.y);
    if (distance <= most) return shift;
    const excess = 1 - most / distance;
    return { x: shift.x - excess * away.x, y: shift.y - excess * away.y };
  }

  /** Return the body bent at the hips, with its neck in the direction of a point. */
  private leaning(target: Point): Body {
    if (!this.shows("mid_hip")) return this;
    const legs = new Set(this.skeleton.subtree(this.skeleton.of("mid_hip")));
    const upper = this.skeleton.joints.flatMap((_, row) => (legs.has(row) ? [] : [row]));
    return this.rotated(upper, this.at("mid_hip"), angleBetween(this.at("mid_hip"), this.at("neck"), target));
  }

  /** Return the body with a limb, and what hangs on it, turned about its upper joint towards a point. */
  private turned(joint: string, about: string, target: Point): Body {
    if (!this.shows(about)) return this;
    const pivot = this.at(about);
    const subtree = this.skeleton.subtree(this.skeleton.of(joint));
    const turned = this.rotated(subtree, pivot, angleBetween(pivot, this.at(joint), target));
    const now = turned.at(joint);
    const distance = Math.hypot(now.x - pivot.x, now.y - pivot.y);
    if (distance < 1e-6) return turned;
    const stretch = this.length(joint) / distance - 1;
    return turned.moved(subtree, { x: stretch * (now.x - pivot.x), y: stretch * (now.y - pivot.y) });
  }

  /**
   * Return the body with an arm or leg of two limbs that reaches for a point, as far as it can.
   * `bendTowards` chooses the side of the middle joint; without it, the side stays.
   */
  private reaching(upper: string, middle: string, end: string, target: Point, endTurns: boolean, bendTowards?: Point): Body {
    if (!this.shows(upper, middle, end)) return this;
    const [root, bend, tip] = [this.at(upper), this.at(middle), this.at(end)];
    const [first, second] = [this.length(middle), this.length(end)];
    const wanted = Math.hypot(target.x - root.x, target.y - root.y);
    const distance = Math.min(first + second, Math.max(Math.abs(first - second), wanted, 1e-3));
    const direction = wanted > 1e-6 ? Math.atan2(target.y - root.y, target.x - root.x) : Math.atan2(tip.y - root.y, tip.x - root.x);
    const cosine = (first * first + distance * distance - second * second) / (2 * first * distance);
    const corner = Math.acos(Math.min(1, Math.max(-1, cosine)));
    const side = sideOf(root, bendTowards ? target : tip, bendTowards ?? bend) || (upper.startsWith("right") ? 1 : -1);
    const knee = polar(root, first, direction + side * corner);
    const foot = polar(root, distance, direction);
    const turn = endTurns ? Math.atan2(foot.y - knee.y, foot.x - knee.x) - Math.atan2(tip.y - bend.y, tip.x - bend.x) : 0;
    const hanging = this.skeleton.subtree(this.skeleton.of(end));
    const shift = { x: foot.x - tip.x, y: foot.y - tip.y };
    return this.rotated(hanging, tip, turn)
      .moved(hanging, shift)
      .moved([this.skeleton.of(middle)], { x: knee.x - bend.x, y: knee.y - bend.y });
  }

  /** Return the present length of the limb that ends in a joint, or most of its usual length if that is more. */
  private length(joint: string): number {
    const row = this.skeleton.of(joint);
    const parent = this.skeleton.parents[row];
    const now = Math.hypot(this.points[2 * row] - this.points[2 * parent], this.points[2 * row + 1] - this.points[2 * parent + 1]);
    return Math.max(now, LEAST_SHARE * (this.lengths[row] || 0), 1e-3);
  }

  private moved(rows: number[], shift: Point): Body {
    const points = this.points.slice();
    for (const row of rows) {
      points[2 * row] += shift.x;
      points[2 * row + 1] += shift.y;
    }
    return new Body(this.skeleton, points, this.lengths);
  }

  private rotated(rows: number[], pivot: Point, angle: number): Body {
    const points = this.points.slice();
    const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
    for (const row of rows) {
      const [x, y] = [points[2 * row] - pivot.x, points[2 * row + 1] - pivot.y];
      points[2 * row] = pivot.x + cosine * x - sine * y;
      points[2 * row + 1] = pivot.y + sine * x + cosine * y;
    }
    return new Body(this.skeleton, points, this.lengths);
  }
}

/** Return the usual length of every limb: the 0.9 quantile over poses, since limbs are mostly foreshortened. */
export function usualLengths(skeleton: Skeleton, poses: Float32Array[]): Float32Array {
  return Float32Array.from(skeleton.parents, (parent, row) => {
    if (parent < 0) return NaN;
    const lengths = poses
      .map((points) => Math.hypot(points[2 * row] - points[2 * parent], points[2 * row + 1] - points[2 * parent + 1]))
      .filter(Number.isFinite)
      .sort((a, b) => a - b);
    return lengths.length ? lengths[Math.floor(0.9 * (lengths.length - 1))] : NaN;
  });
}

function angleBetween(pivot: Point, from: Point, to: Point): number {
  return Math.atan2(to.y - pivot.y, to.x - pivot.x) - Math.atan2(from.y - pivot.y, from.x - pivot.x);
}

/** Return on which side of the line from a to b a point is: 1, -1, or 0 on the line. */
function sideOf(a: Point, b: Point, point: Point): number {
  const cross = (b.x - a.x) * (point.y - a.y) - (b.y - a.y) * (point.x - a.x);
  return Math.abs(cross) < 1e-4 ? 0 : Math.sign(cross);
}

function polar(from: Point, length: number, angle: number): Point {
  return { x: from.x + length * Math.cos(angle), y: from.y + length * Math.sin(angle) };
}

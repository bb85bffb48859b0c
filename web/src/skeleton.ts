/**
 * Tree of joints, as the metadata of the graphs list it.
 * In: the metadata. Out: `Skeleton` with parents and descendants by row. Next: `kinematics.ts`, which moves joints.
 */

export interface Joint {
  name: string;
  parent: string | null;
  colour: [number, number, number];
}

/** Joints that can be dragged; hands, feet, eyes and ears follow them. */
export const HANDLES = [
  "nose",
  "neck",
  "mid_hip",
  "right_elbow",
  "right_wrist",
  "left_elbow",
  "left_wrist",
  "right_knee",
  "right_ankle",
  "left_knee",
  "left_ankle",
] as const;
export type Handle = (typeof HANDLES)[number];

export class Skeleton {
  readonly row: ReadonlyMap<string, number>;
  readonly parents: readonly number[];
  private readonly children: readonly number[][];

  constructor(readonly joints: readonly Joint[]) {
    this.row = new Map(joints.map((joint, row) => [joint.name, row]));
    this.parents = joints.map((joint) => (joint.parent === null ? -1 : this.row.get(joint.parent)!));
    this.children = joints.map((_, row) => this.parents.flatMap((parent, child) => (parent === row ? [child] : [])));
  }

  get size(): number {
    return this.joints.length;
  }

  of(name: string): number {
    return this.row.get(name)!;
  }

  /** Return a joint and all joints that hang on it. */
  subtree(row: number): number[] {
    return [row, ...this.children[row].flatMap((child) => this.subtree(child))];
  }
}

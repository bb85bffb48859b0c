/**
 * Pictures side by side: the prior's mean, which has the joints over it, and futures.
 * In: frames. Out: canvases of the size at which they are seen.
 */
import { showPlanes } from "./images";
import type { Texts } from "./language";

/** Largest number of display pixels for each pixel of a frame. */
const MOST_SCALE = 16;

export class Pictures {
  private readonly figures: HTMLElement[];
  private readonly small: HTMLCanvasElement;
  private frames: Float32Array[] = [];
  private isSmooth = true;

  constructor(
    private readonly place: HTMLElement,
    private readonly size: { height: number; width: number },
    private readonly texts: Texts,
    private readonly name: string,
  ) {
    this.figures = [...place.querySelectorAll<HTMLElement>("figure")];
    this.small = document.createElement("canvas");
    this.small.width = size.width;
    this.small.height = size.height;
    place.style.setProperty("--aspect", String(size.width / size.height));
    place.dataset.shape = size.width / size.height < 1.4 ? "tall" : "wide";
    new ResizeObserver(() => this.draw()).observe(place);
    texts.whenever(() => this.label());
  }

  set smooth(isSmooth: boolean) {
    this.isSmooth = isSmooth;
    this.draw();
  }

  show(frames: Float32Array, rows: number): void {
    const length = frames.length / rows;
    this.frames = Array.from({ length: rows }, (_, row) => frames.subarray(row * length, (row + 1) * length));
    this.place.dataset.count = String(rows);
    this.figures.forEach((figure, row) => figure.toggleAttribute("hidden", row >= rows));
    this.draw();
  }

  /** Return the mean's picture as it was shown last. */
  get mean(): Float32Array | undefined {
    return this.frames[0];
  }

  private draw(): void {
    this.frames.forEach((frame, row) => {
      const canvas = this.figures[row].querySelector("canvas")!;
      const seen = (canvas.clientWidth * devicePixelRatio) / this.size.width;
      const scale = Math.min(MOST_SCALE, Math.max(1, Math.ceil(seen)));
      if (canvas.width !== scale * this.size.width) {
        canvas.width = scale * this.size.width;
        canvas.height = scale * this.size.height;
      }
      showPlanes(this.small, frame);
      const context = canvas.getContext("2d")!;
      context.imageSmoothingEnabled = this.isSmooth;
      context.imageSmoothingQuality = "high";
      context.drawImage(this.small, 0, 0, canvas.width, canvas.height);
    });
  }

  private label(): void {
    this.figures.forEach((figure, row) => {
      const what = row === 0 ? this.texts.of("mean") : `${this.texts.of("future")} ${row}`;
      figure.querySelector("figcaption")!.textContent = what;
      figure.querySelector("canvas")!.setAttribute("aria-label", `${this.texts.of("picture")} ${this.name}: ${what}`);
    });
  }
}

/** Conversions of pictures: RGB bytes [H, W, 3], float planes [3, H, W] of values in [0, 1], and canvas pixels. */

/** Return bytes as float planes. */
export function toPlanes(pixels: Uint8Array): Float32Array<ArrayBuffer> {
  const area = pixels.length / 3;
  const planes = new Float32Array(pixels.length);
  for (let k = 0; k < area; k++) {
    for (let colour = 0; colour < 3; colour++) planes[colour * area + k] = pixels[3 * k + colour] / 255;
  }
  return planes;
}

/** Show float planes on a canvas of their size. */
export function showPlanes(canvas: HTMLCanvasElement, planes: Float32Array): void {
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(canvas.width, canvas.height);
  const area = canvas.width * canvas.height;
  for (let k = 0; k < area; k++) {
    for (let colour = 0; colour < 3; colour++) image.data[4 * k + colour] = Math.round(255 * planes[colour * area + k]);
    image.data[4 * k + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

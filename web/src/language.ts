/**
 * Texts of the page in English and Traditional Chinese.
 * In: elements with a `data-text` or `data-label`. Out: their texts in the chosen language.
 */
import type { Handle } from "./skeleton";

export type Language = "en" | "zh-TW";

const ENGLISH = {
  loading: "Loading the networks…",
  failed: "This browser cannot run the puppet:",
  empty: "This page holds no puppet. posecast export RUN --format page fills it.",
  hint: "Drag a hand, a foot, the head or the hips",
  play: "Play",
  pause: "Pause",
  dance: "Recorded dance",
  position: "Position in the dance",
  reset: "Reset",
  futures: "Futures",
  futuresHelp: "The first picture is the most likely one. The others are drawn at random, for the same poses.",
  redraw: "Draw again",
  mean: "most likely",
  future: "future",
  factors: "What the pose does not tell",
  factorsHelp: "The latent variable z: light, cloth and the like. The middle is the prior's mean.",
  options: "View",
  pinned: "Feet stay where they are",
  joints: "Show joints",
  smooth: "Smooth pixels",
  pictures: "Pictures of the puppet",
  skeleton: "Joints of the puppet; the arrow keys move the selected one",
  settings: "Settings",
  picture: "Predicted picture of",
  language: "中文",
  languageLabel: "改用中文",
  consent: "Animating a real person requires that person's consent. Nothing leaves this page.",
  fps: "frames/s",
  each: "ms each",
  resting: "resting",
  title: "puppet",
};

const CHINESE: typeof ENGLISH = {
  loading: "正在載入網路…",
  failed: "這個瀏覽器無法執行這個人偶：",
  empty: "這個網頁裡沒有人偶；請用 posecast export RUN --format page 產生。",
  hint: "拖曳手、腳、頭或臀部",
  play: "播放",
  pause: "暫停",
  dance: "錄下的舞蹈",
  position: "舞蹈的位置",
  reset: "重設",
  futures: "未來",
  futuresHelp: "第一張圖是最可能的未來，其餘是相同姿勢下隨機抽樣的未來。",
  redraw: "重新抽樣",
  mean: "最可能",
  future: "未來",
  factors: "姿勢沒有說的事",
  factorsHelp: "潛在變數 z：光線、衣物等等。中間是先驗分布的平均。",
  options: "檢視",
  pinned: "雙腳固定不動",
  joints: "顯示關節",
  smooth: "平滑像素",
  pictures: "人偶的畫面",
  skeleton: "人偶的關節；用方向鍵移動選取的關節",
  settings: "設定",
  picture: "預測的畫面：",
  language: "English",
  languageLabel: "Switch to English",
  consent: "讓真人的影像動起來，必須得到本人同意。任何資料都不會離開這個網頁。",
  fps: "張/秒",
  each: "毫秒一張",
  resting: "靜止",
  title: "人偶",
};

const HANDLES: Record<Language, Record<Handle, string>> = {
  en: {
    nose: "head",
    neck: "neck",
    mid_hip: "hips",
    right_elbow: "right elbow",
    right_wrist: "right hand",
    left_elbow: "left elbow",
    left_wrist: "left hand",
    right_knee: "right knee",
    right_ankle: "right foot",
    left_knee: "left knee",
    left_ankle: "left foot",
  },
  "zh-TW": {
    nose: "頭",
    neck: "頸部",
    mid_hip: "臀部",
    right_elbow: "右手肘",
    right_wrist: "右手",
    left_elbow: "左手肘",
    left_wrist: "左手",
    right_knee: "右膝",
    right_ankle: "右腳",
    left_knee: "左膝",
    left_ankle: "左腳",
  },
};

export type TextKey = keyof typeof ENGLISH;

export class Texts {
  private readonly listeners: (() => void)[] = [];

  constructor(public language: Language = navigator.language.toLowerCase().startsWith("zh") ? "zh-TW" : "en") {}

  of(key: TextKey): string {
    return (this.language === "en" ? ENGLISH : CHINESE)[key];
  }

  handle(handle: Handle): string {
    return HANDLES[this.language][handle];
  }

  /** Call a function now and whenever the language changes. */
  whenever(apply: () => void): void {
    this.listeners.push(apply);
    apply();
  }

  change(): void {
    this.language = this.language === "en" ? "zh-TW" : "en";
    for (const apply of this.listeners) apply();
  }

  /** Fill the elements of the document. */
  fill(): void {
    document.documentElement.lang = this.language;
    for (const element of document.querySelectorAll<HTMLElement>("[data-text]")) {
      element.textContent = this.of(element.dataset.text as TextKey);
    }
    for (const element of document.querySelectorAll<HTMLElement>("[data-label]")) {
      element.setAttribute("aria-label", this.of(element.dataset.label as TextKey));
    }
  }
}

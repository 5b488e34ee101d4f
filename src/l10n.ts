/**
 * Translation for plain functions, which can't import `vscode`. English until the extension hands over VS Code's own.
 * Texts are written out where they are used, with `{0}` for what varies.
 */
export type Translate = (text: string, ...values: (string | number)[]) => string;

const english: Translate = (text, ...values) => text.replace(/\{(\d+)\}/g, (_, n) => String(values[Number(n)] ?? ''));
let translate: Translate = english;

export function useTranslation(translation: Translate): void {
  translate = translation;
}

export const t: Translate = (text, ...values) => translate(text, ...values);

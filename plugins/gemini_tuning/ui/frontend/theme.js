// Airflow's theme is a class on its own <html>; in a frame, prefers-color-scheme tells the system's instead.

function parentRoot() {
  try {
    return window.parent !== window ? window.parent.document.documentElement : null;
  } catch {
    return null; // shown inside another site, which the policy forbids anyway
  }
}

function theme(root) {
  if (root) return root.classList.contains("dark") ? "dark" : "light";
  return window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

export function followTheme(changed) {
  const root = parentRoot();
  const apply = () => {
    document.documentElement.dataset.theme = theme(root);
    const style = root && window.parent.getComputedStyle(window.parent.document.body);
    if (style?.fontFamily) document.documentElement.style.setProperty("--font", style.fontFamily);
    changed();
  };
  apply();
  if (root) new MutationObserver(apply).observe(root, { attributes: true, attributeFilter: ["class"] });
  else window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
}

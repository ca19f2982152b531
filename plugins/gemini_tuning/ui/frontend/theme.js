// Airflow's theme is a class on its <html> element; prefers-color-scheme in a frame is that of the system.

function parentRoot() {
  try {
    return window.parent !== window ? window.parent.document.documentElement : null;
  } catch {
    return null; // inside another site, which the content security policy forbids
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

const name = "mamba-serve-theme";

/** Lets `select` choose the theme; "" is the system's. The choice is remembered. @param {HTMLSelectElement} select */
export function followTheme(select) {
  /** @param {string} theme */
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme;
  };
  select.value = localStorage.getItem(name) ?? "";
  apply(select.value);
  select.addEventListener("change", () => {
    localStorage.setItem(name, select.value);
    apply(select.value);
  });
}

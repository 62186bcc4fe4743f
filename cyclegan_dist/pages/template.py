"""Templates of pages, in the folders of the packages that write them."""

import base64
import hashlib

import jinja2


def page_template(name: str) -> jinja2.Template:
    """A template with HTML escaping, which may include other files.

    Args:
        name: path in this library, as those of the files that it includes: `service/page.html`.

    Raises:
        jinja2.TemplateNotFound: if there is no such file.
    """
    return jinja2.Environment(autoescape=True, loader=jinja2.PackageLoader("cyclegan_dist", ".")).get_template(name)


def page_script(*names: str) -> dict[str, str]:
    """The script of a page that stands alone, for its template: `script`, the files joined, and `script_hash`, by which
    the page's policy lets no other one run.

    Args:
        names: paths in this library, as `pages/compare.js`.
    """
    script = "\n".join(page_template(name).render() for name in names)
    return {"script": script, "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}

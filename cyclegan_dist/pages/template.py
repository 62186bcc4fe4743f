"""Templates of pages, in the folders of the packages that write them."""

import jinja2


def page_template(name: str) -> jinja2.Template:
    """A template with HTML escaping, which may include other files.

    Args:
        name: path in this library, as those of the files that it includes: `service/page.html`.

    Raises:
        jinja2.TemplateNotFound: if there is no such file.
    """
    return jinja2.Environment(autoescape=True, loader=jinja2.PackageLoader("cyclegan_dist", ".")).get_template(name)

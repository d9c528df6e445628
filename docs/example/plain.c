/* plain.c - an index of a package list in memory: what depends on what, which descriptions hold which words.
 *
 *     plain FILE QUERY...
 *
 * FILE is in the format of Debian's Packages files (apt-helper cat-file prints one). Queries:
 *     needs=NAME        what has to be installed for NAME, and how large that is
 *     words=WORD,WORD   packages whose descriptions hold all these words
 *     sections          packages and bytes by section
 *     check             a checksum of all that is in memory
 */
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 65536
#define HITS    26 /* packages in a record of a word */
#define MOST    64 /* sections */

typedef struct package package;
typedef struct word word;

struct package {
    char name[64], section[24];
    long bytes;         /* when it is installed */
    unsigned mark;      /* of the last query that met it */
    char *text;         /* the whole paragraph */
    package *next;      /* in its bucket */
};

/* Packages whose descriptions hold a word. When it is full another is put before it. */
struct word {
    char text[24];
    size_t n;
    package *in[HITS];
    word *next;         /* in its bucket */
};

static package *packages[BUCKETS];
static word *words[BUCKETS];
static package **all_packages; /* in the order in which they came */
static word **all_words;
static size_t n_packages, n_words;
static unsigned mark;

static void check(int ok)
{
    if (!ok) {
        perror("index");
        exit(1);
    }
}

/* Room for one more, of so many bytes each, in an array of n. */
static void *more(void *at, size_t n, size_t bytes)
{
    if ((n & (n - 1)) == 0)
        at = realloc(at, (n ? 2 * n : 1) * bytes);
    check(at != NULL);
    return at;
}

static void copy(char *to, size_t most, const char *from)
{
    size_t n = strnlen(from, most - 1);

    memcpy(to, from, n);
    to[n] = 0;
}

static uint64_t hash(uint64_t h, const char *s)
{
    while (*s)
        h = (h ^ (unsigned char)*s++) * 0x100000001b3;
    return h;
}

static unsigned bucket(const char *s)
{
    return hash(0xcbf29ce484222325, s) % BUCKETS;
}

/* The next word of at least three letters, in lower case; false: there is none. */
static int next_word(const char **text, char *one, size_t most)
{
    for (size_t n = 0;; (*text)++) {
        if (isalnum((unsigned char)**text)) {
            if (n < most - 1)
                one[n++] = (char)tolower((unsigned char)**text);
            continue;
        }
        one[n] = 0;
        if (n > 2 || !**text)
            return n > 2;
        n = 0;
    }
}

/* The next line of a paragraph, without its end; false: there is none. */
static int next_line(const char **text, char *line, size_t most)
{
    size_t n = strcspn(*text, "\n");

    copy(line, n < most ? n + 1 : most, *text);
    *text += n + (*text)[n] / '\n';
    return n > 0;
}

/* The value of a line that has this key, or NULL. */
static char *value_of(char *line, const char *key)
{
    size_t n = strlen(key);

    return strncmp(line, key, n) == 0 && line[n] == ':' ? line + n + 1 + strspn(line + n + 1, " ") : NULL;
}

/* --- building it */

static package *find(const char *name)
{
    package *p = packages[bucket(name)];

    while (p && strcmp(p->name, name) != 0)
        p = p->next;
    return p;
}

static word *find_word(word *w, const char *text)
{
    while (w && strcmp(w->text, text) != 0)
        w = w->next;
    return w;
}

static void add_hit(const char *text, package *p)
{
    word **head = &words[bucket(text)];
    word *w = find_word(*head, text);

    if (w && w->in[w->n - 1] == p)
        return;
    if (!w || w->n == HITS) {
        w = calloc(1, sizeof(word));
        check(w != NULL);
        copy(w->text, sizeof(w->text), text);
        w->next = *head;
        *head = w;
        all_words = more(all_words, n_words, sizeof(all_words[0]));
        all_words[n_words++] = w;
    }
    w->in[w->n++] = p;
}

static package *add_package(const char *name, const char *text)
{
    package **head = &packages[bucket(name)];
    package *p = calloc(1, sizeof(package));
    char *t = calloc(strlen(text) + 1, sizeof(char));

    check(p != NULL && t != NULL);
    copy(p->name, sizeof(p->name), name);
    strcpy(t, text);
    p->text = t;
    p->next = *head;
    *head = p;
    all_packages = more(all_packages, n_packages, sizeof(all_packages[0]));
    all_packages[n_packages++] = p;
    return p;
}

static void add_field(package *p, char *line)
{
    const char *value;
    char one[24];

    if ((value = value_of(line, "Section")))
        copy(p->section, sizeof(p->section), value);
    else if ((value = value_of(line, "Installed-Size")))
        p->bytes = strtol(value, NULL, 10) * 1024;
    else if ((value = value_of(line, "Description")))
        while (next_word(&value, one, sizeof(one)))
            add_hit(one, p);
}

static void add_paragraph(const char *text)
{
    char line[8192], *name;
    const char *rest = text;
    package *p;

    if (!next_line(&rest, line, sizeof(line)) || !(name = value_of(line, "Package")))
        return;
    p = add_package(name, text);
    while (next_line(&rest, line, sizeof(line)))
        add_field(p, line);
}

static void load(const char *path)
{
    static char text[65536]; /* longer paragraphs are cut */
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t most = 0, n = 0;
    ssize_t got;

    check(f != NULL);
    while ((got = getline(&line, &most, f)) > 0) {
        if (line[0] == '\n') {
            add_paragraph(text);
            n = 0;
        } else if (n + (size_t)got < sizeof(text)) {
            memcpy(text + n, line, (size_t)got);
            n += (size_t)got;
        }
        text[n] = 0;
    }
    add_paragraph(text);
    free(line);
    fclose(f);
}

/* --- asking it */

static package **todo; /* what is still to be looked at: a stack */
static size_t n_todo;

static void push(package *p)
{
    todo = more(todo, n_todo, sizeof(todo[0]));
    todo[n_todo++] = p;
}

/* "a (>= 1), b | c": the first of each alternative. Returns how many there are not. */
static long push_needs(const char *text)
{
    char line[8192], *list, *rest;
    long missing = 0;

    while (next_line(&text, line, sizeof(line)))
        if ((list = value_of(line, "Depends")))
            for (char *s = strtok_r(list, ",", &rest); s; s = strtok_r(NULL, ",", &rest)) {
                package *p;

                s += strspn(s, " ");
                s[strcspn(s, " :|(")] = 0;
                p = find(s);
                if (p)
                    push(p);
                else
                    missing++;
            }
    return missing;
}

static void ask_needs(const char *name)
{
    package *p = find(name);
    long n = 0, bytes = 0, missing = 0;

    mark++;
    if (p)
        push(p);
    while (n_todo) {
        p = todo[--n_todo];
        if (p->mark == mark)
            continue;
        p->mark = mark;
        n++;
        bytes += p->bytes;
        missing += push_needs(p->text);
    }
    printf("needs %s: %ld packages, %ld bytes, %ld missing\n", name, n, bytes, missing);
}

/* A package that has had the word before gets the mark of this one. */
static void ask_words(char *list)
{
    long found = 0;
    int first = 1;

    mark++;
    for (char *s = strtok(list, ","); s; s = strtok(NULL, ","), first = 0) {
        word *w = find_word(words[bucket(s)], s);

        for (found = 0; w; w = find_word(w->next, s))
            for (size_t i = 0; i < w->n; i++) {
                package *p = w->in[i];

                if (!first && p->mark != mark)
                    continue;
                p->mark = mark + 1;
                if (found++ == 0)
                    printf("words %s: %s is one\n", s, p->name);
            }
        mark++;
    }
    printf("words: %ld packages\n", found);
}

static void ask_sections(void)
{
    struct {
        char name[24];
        long n, bytes;
    } s[MOST] = {0};

    for (size_t k = 0; k < n_packages; k++) {
        package *p = all_packages[k];
        size_t i = 0;

        while (i < MOST - 1 && s[i].n && strcmp(s[i].name, p->section) != 0)
            i++;
        copy(s[i].name, sizeof(s[i].name), p->section);
        s[i].n++;
        s[i].bytes += p->bytes;
    }
    for (size_t i = 0; i < MOST && s[i].n; i++)
        printf("section %s: %ld packages, %ld bytes\n", s[i].name, s[i].n, s[i].bytes);
}

static void ask_check(void)
{
    uint64_t sum = 0;

    for (size_t k = 0; k < n_packages; k++) {
        package *p = all_packages[k];

        sum += hash(hash(hash(7, p->name), p->section), p->text) + (uint64_t)p->bytes;
    }
    for (size_t k = 0; k < n_words; k++)
        sum += hash(8, all_words[k]->text) * all_words[k]->n;
    printf("check %016llx\n", (unsigned long long)sum);
}

static void ask(char *query)
{
    if (strncmp(query, "needs=", 6) == 0)
        ask_needs(query + 6);
    else if (strncmp(query, "words=", 6) == 0)
        ask_words(query + 6);
    else if (strcmp(query, "sections") == 0)
        ask_sections();
    else if (strcmp(query, "check") == 0)
        ask_check();
    else
        fprintf(stderr, "no such query: %s\n", query);
}

/* --- the end of it */

static void clear(void)
{
    for (size_t b = 0; b < BUCKETS; b++) {
        for (package *p = packages[b], *next; p; p = next) {
            next = p->next;
            free(p->text);
            free(p);
        }
        for (word *w = words[b], *next; w; w = next) {
            next = w->next;
            free(w);
        }
    }
    free(todo);
    free(all_packages);
    free(all_words);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s FILE needs=NAME|words=WORD,WORD|sections|check...\n", argv[0]);
        return 2;
    }
    load(argv[1]);
    for (int i = 2; i < argc; i++)
        ask(argv[i]);
    clear();
    return 0;
}

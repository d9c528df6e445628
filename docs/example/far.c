/* far.c - plain.c with far objects.
 *
 *     far FILE QUERY...
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

#include <far/ahead.h>
#include <far/object.h>

#define BUCKETS 65536
#define HITS    26 /* packages in a record of a word */
#define MOST    64 /* sections */
#define AHEAD   16 /* paragraphs that are read before one is added */

typedef struct package package;
typedef struct word word;
FAR_DECLARE(package);
FAR_DECLARE(word);

struct package {
    char name[64], section[24];
    long bytes;         /* when it is installed */
    unsigned mark;      /* of the last query that met it */
    FAR(char) text;     /* the whole paragraph */
    FAR(package) next;  /* in its bucket */
};
FAR_TYPE(package, text, next); /* what it owns: freed with it */

/* Packages whose descriptions hold a word. When it is full another is put before it. */
struct word {
    char text[24];
    size_t n;
    FAR(package) in[HITS];
    FAR(word) next;     /* in its bucket */
};
FAR_TYPE(word, next);

static FAR(package) packages[BUCKETS];
static FAR(word) words[BUCKETS];
static FAR(package) *all_packages; /* in the order in which they came */
static FAR(char) *all_texts;
static FAR(word) *all_words;
static size_t n_packages, n_words;
static const FAR(package) no_package; /* where a walk ends */
static const FAR(char) no_text;
static const FAR(word) no_word;
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

static FAR(package) find(const char *name)
{
    FAR_SCOPED;
    FAR(package) p = packages[bucket(name)];

    while (!FAR_IS_NULL(p) && strcmp(FAR_R(p)->name, name) != 0)
        p = FAR_R(p)->next;
    return p;
}

static FAR(word) find_word(FAR(word) w, const char *text)
{
    FAR_SCOPED;

    while (!FAR_IS_NULL(w) && strcmp(FAR_R(w)->text, text) != 0)
        w = FAR_R(w)->next;
    return w;
}

static void add_hit(const char *text, FAR(package) p)
{
    FAR_SCOPED;
    FAR(word) *head = &words[bucket(text)];
    FAR(word) w = find_word(*head, text);

    if (!FAR_IS_NULL(w) && FAR_IS_SAME(FAR_R(w)->in[FAR_R(w)->n - 1], p))
        return;
    if (FAR_IS_NULL(w) || FAR_R(w)->n == HITS) {
        check(FAR_NEW(w, word));
        copy(FAR_W(w)->text, sizeof(FAR_R(w)->text), text);
        FAR_W(w)->next = *head;
        *head = w;
        all_words = more(all_words, n_words, sizeof(all_words[0]));
        all_words[n_words++] = w;
    }
    FAR_W(w)->in[FAR_W(w)->n++] = p;
}

static FAR(package) add_package(const char *name, const char *text)
{
    FAR_SCOPED;
    FAR(package) *head = &packages[bucket(name)];
    FAR(package) p;
    FAR(char) t;

    check(FAR_NEW(p, package) && FAR_NEW_N(t, char, strlen(text) + 1));
    copy(FAR_W(p)->name, sizeof(FAR_R(p)->name), name);
    strcpy(FAR_W(t), text);
    FAR_W(p)->text = t;
    FAR_W(p)->next = *head;
    *head = p;
    all_packages = more(all_packages, n_packages, sizeof(all_packages[0]));
    all_texts = more(all_texts, n_packages, sizeof(all_texts[0]));
    all_packages[n_packages] = p;
    all_texts[n_packages++] = t;
    return p;
}

static void add_field(FAR(package) p, char *line)
{
    FAR_SCOPED;
    const char *value;
    char one[24];

    if ((value = value_of(line, "Section")))
        copy(FAR_W(p)->section, sizeof(FAR_R(p)->section), value);
    else if ((value = value_of(line, "Installed-Size")))
        FAR_W(p)->bytes = strtol(value, NULL, 10) * 1024;
    else if ((value = value_of(line, "Description")))
        while (next_word(&value, one, sizeof(one)))
            add_hit(one, p);
}

static void add_paragraph(const char *text)
{
    char line[8192], *name;
    const char *rest = text;
    FAR(package) p;

    if (!next_line(&rest, line, sizeof(line)) || !(name = value_of(line, "Package")))
        return;
    p = add_package(name, text);
    while (next_line(&rest, line, sizeof(line)))
        add_field(p, line);
}

/* Asks for the words that a paragraph will be added to. */
static void look_ahead(const char *text)
{
    const char *at = strstr(text, "\nDescription: "), *value;
    char line[8192], one[24];

    if (!at++)
        return;
    next_line(&at, line, sizeof(line));
    value = value_of(line, "Description");
    while (next_word(&value, one, sizeof(one)))
        FAR_PREFETCH(words[bucket(one)]);
}

static void load(const char *path)
{
    static char texts[AHEAD][65536]; /* longer paragraphs are cut */
    char *text = texts[0];
    FILE *f = fopen(path, "r");
    char *line = NULL;
    size_t most = 0, n = 0, i = 0;
    ssize_t got;

    check(f != NULL);
    while ((got = getline(&line, &most, f)) > 0) {
        if (line[0] == '\n') {
            look_ahead(text);
            text = texts[++i % AHEAD];
            add_paragraph(text);
            n = 0;
        } else if (n + (size_t)got < sizeof(texts[0])) {
            memcpy(text + n, line, (size_t)got);
            n += (size_t)got;
        }
        text[n] = 0;
    }
    for (size_t k = 1; k <= AHEAD; k++)
        add_paragraph(texts[(i + k) % AHEAD]);
    free(line);
    fclose(f);
}

/* --- asking it */

static FAR(package) *todo; /* what is still to be looked at: a stack */
static size_t n_todo;

static void push(FAR(package) p)
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
                FAR(package) p;

                s += strspn(s, " ");
                s[strcspn(s, " :|(")] = 0;
                p = find(s);
                if (!FAR_IS_NULL(p))
                    push(p);
                else
                    missing++;
            }
    return missing;
}

static void ask_needs(const char *name)
{
    FAR_SCOPED;
    FAR(package) p = find(name);
    long n = 0, bytes = 0, missing = 0;

    mark++;
    if (!FAR_IS_NULL(p))
        push(p);
    while (n_todo) {
        FAR_SCOPE_CHECKPOINT();
        p = todo[--n_todo];
        if (FAR_R(p)->mark == mark)
            continue;
        FAR_W(p)->mark = mark;
        n++;
        bytes += FAR_R(p)->bytes;
        missing += push_needs(FAR_R(FAR_R(p)->text));
    }
    printf("needs %s: %ld packages, %ld bytes, %ld missing\n", name, n, bytes, missing);
}

/* A package that has had the word before gets the mark of this one. */
static void ask_words(char *list)
{
    FAR_SCOPED;
    long found = 0;
    int first = 1;

    mark++;
    for (char *s = strtok(list, ","); s; s = strtok(NULL, ","), first = 0) {
        FAR(word) w = find_word(words[bucket(s)], s);

        for (found = 0; !FAR_IS_NULL(w); w = find_word(FAR_R(w)->next, s))
            for (size_t i = 0; i < FAR_R(w)->n; i++) {
                FAR(package) p = FAR_R(w)->in[i];

                FAR_SCOPE_CHECKPOINT();
                if (!first && FAR_R(p)->mark != mark)
                    continue;
                FAR_W(p)->mark = mark + 1;
                if (found++ == 0)
                    printf("words %s: %s is one\n", s, FAR_R(p)->name);
            }
        mark++;
    }
    printf("words: %ld packages\n", found);
}

static void ask_sections(void)
{
    FAR_SCOPED;
    struct {
        char name[24];
        long n, bytes;
    } s[MOST] = {0};
    FAR_PACE(pace);

    for (size_t k = 0; k < n_packages; k++) {
        FAR(package) p = all_packages[k];
        size_t i = 0;

        FAR_SCOPE_CHECKPOINT();
        FAR_AHEAD(pace, j, k + j < n_packages ? all_packages[k + j] : no_package);
        while (i < MOST - 1 && s[i].n && strcmp(s[i].name, FAR_R(p)->section) != 0)
            i++;
        copy(s[i].name, sizeof(s[i].name), FAR_R(p)->section);
        s[i].n++;
        s[i].bytes += FAR_R(p)->bytes;
    }
    for (size_t i = 0; i < MOST && s[i].n; i++)
        printf("section %s: %ld packages, %ld bytes\n", s[i].name, s[i].n, s[i].bytes);
}

static void ask_check(void)
{
    FAR_SCOPED;
    uint64_t sum = 0;
    FAR_PACE(of_packages);
    FAR_PACE(of_texts);
    FAR_PACE(of_words);

    for (size_t k = 0; k < n_packages; k++) {
        FAR(package) p = all_packages[k];

        FAR_SCOPE_CHECKPOINT();
        FAR_AHEAD(of_packages, j, k + j < n_packages ? all_packages[k + j] : no_package);
        FAR_AHEAD(of_texts, j, k + j < n_packages ? all_texts[k + j] : no_text);
        sum += hash(hash(hash(7, FAR_R(p)->name), FAR_R(p)->section), FAR_R(FAR_R(p)->text)) + (uint64_t)FAR_R(p)->bytes;
    }
    for (size_t k = 0; k < n_words; k++) {
        FAR_SCOPE_CHECKPOINT();
        FAR_AHEAD(of_words, j, k + j < n_words ? all_words[k + j] : no_word);
        sum += hash(8, FAR_R(all_words[k])->text) * FAR_R(all_words[k])->n;
    }
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
        FAR_FREE(packages[b]);
        FAR_FREE(words[b]);
    }
    free(todo);
    free(all_packages);
    free(all_texts);
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
